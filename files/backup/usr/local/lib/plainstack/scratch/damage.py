"""Damage in a backup and in the cluster restored from it: what PostgreSQL's own tools find, named by table."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import postmaster
from base_backup import BaseBackup
from place import Cluster, Failed, Place

# pg_amcheck compares each index with its table too, unless the cluster is larger.
THOROUGH = 2 * 2**30
_SHOWN = 10
_RELATION = re.compile(r"(?:base/(?P<database>\d+)|pg_tblspc/(?P<space>\d+)/[^/]+/(?P<other>\d+))/(?P<node>\d+)")

_NAMED = """\
select case relkind when 'i' then 'index' when 't' then 'TOAST table' else 'table' end || ' ' || oid::regclass
 from pg_class where oid = pg_filenode_relation({0}, {1})"""


@dataclass(frozen=True)
class Damaged:
    """A damaged file, relative to the data directory, and what is wrong with it."""

    file: str
    why: str


def of_backup(place: Place, backup: BaseBackup) -> Iterator[Damaged]:
    """Yield the files of a backup, and of those it builds on, that are not as the backup wrote them."""
    for identity in backup.chain:
        folder = place.archive / "base" / identity / "data"
        ran = _tool(place, "pg_verifybackup", "--no-parse-wal", "--quiet", str(folder))
        found = list(_verified(identity, ran.stderr)) if ran.returncode else []
        if ran.returncode and not found:
            raise Failed(f"backup {identity} cannot be verified", ran.stderr)
        yield from found[:_SHOWN]


def of_copy(cluster: Cluster) -> Iterator[Damaged]:
    """Yield the files of a copied data directory that are not as the copy's manifest has them."""
    ran = _tool(cluster.place, "pg_verifybackup", "--no-parse-wal", "--quiet", str(cluster.data))
    found = list(_verified("", ran.stderr)) if ran.returncode else []
    if ran.returncode and not found:
        raise Failed("the copied files cannot be verified", ran.stderr)
    yield from found[:_SHOWN]


def _verified(identity: str, printed: str) -> Iterator[Damaged]:
    for line in printed.splitlines():
        text = line.removeprefix("pg_verifybackup: error: ")
        if match := re.search(r'"([^"]+)"', text):
            yield Damaged(match[1], f"{text} (backup {identity})" if identity else f"{text} (in the copy)")


def of_pages(cluster: Cluster) -> Iterator[Damaged]:
    """Yield the files of a stopped cluster with pages whose checksum is wrong."""
    ran = _tool(cluster.place, "pg_checksums", "--check", "-D", str(cluster.data))
    bad: dict[str, list[str]] = {}
    for match in re.finditer(r'checksum verification failed in file "([^"]+)", block (\d+)', ran.stderr):
        bad.setdefault(match[1].removeprefix(f"{cluster.data}/"), []).append(match[2])
    for file, blocks in list(bad.items())[:_SHOWN]:
        yield Damaged(file, f"the checksum of {len(blocks)} of its pages is wrong, first in block {blocks[0]}")
    if ran.returncode and not bad:
        raise Failed("pg_checksums failed on the restored cluster", ran.stderr)


def of_tables(cluster: Cluster, size: int) -> Iterator[str]:
    """Yield a sentence for each damaged table or index of a running cluster of a size in bytes."""
    words = ["--all", "--install-missing", "--jobs=2", "--no-password"]
    words += ["--heapallindexed"] if size < THOROUGH else []
    words += ["--host", str(cluster.socket), "--port", str(cluster.place.port), "--username=postgres"]
    ran = _tool(cluster.place, "pg_amcheck", *words)
    seen: dict[str, str] = {}
    lines = ran.stdout.splitlines()
    for heading, text in zip(lines, [*lines[1:], ""], strict=False):
        if match := re.match(r'(heap table|btree index) "(.*?)"[,:]', heading):
            seen.setdefault(f"{match[1]} {match[2]}", text.strip())
    for what, text in list(seen.items())[:_SHOWN]:
        yield f"{what} is damaged: {text}"
    if ran.returncode and not seen:
        raise Failed(f"pg_amcheck failed: {' '.join(ran.stderr.split())[:300]}")


def sentence(cluster: Cluster, damaged: Damaged) -> str:
    """Return a sentence about a damaged file, which names its table if the running cluster knows it."""
    what = _relation(cluster, damaged.file)
    return f"{what}: {damaged.why}" if what else f"file {damaged.file}: {damaged.why}"


def _relation(cluster: Cluster, file: str) -> str:
    match = _RELATION.search(file.replace("INCREMENTAL.", ""))
    if not match:
        return ""
    oid = match["database"] or match["other"]
    space = match["space"] or "0"
    try:
        database = postmaster.query(cluster, f"select datname from pg_database where oid = {oid}")  # noqa: S608 - digits
        if not database:
            return ""
        # Both numbers consist of digits.
        query = "set search_path = '';" + _NAMED.format(space, match["node"])
        relation = postmaster.query(cluster, query, database)
    except Failed:
        return ""
    return f"{relation} of database {database}" if relation else ""


def _tool(place: Place, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(place.bin / name), *words], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )
