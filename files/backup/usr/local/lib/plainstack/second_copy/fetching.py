"""Fetch from the copy: one backup with its WAL for a restore test, or everything that a rebuilt backup host lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import entries
from destination import Destination, Failed
from outcome import Outcome
from pushing import NOT_WAL, Push, empty

_BARMAN_CONFIG = Path("/etc/barman.d/main.conf")
# Room for the WAL that is fetched, and for WAL that Barman receives meanwhile.
_SPARE = 512 * 2**20


def fetch_one(place: Destination, push: Push, wanted: str, into: Path, config: Path = _BARMAN_CONFIG) -> str:
    """Fetch a backup, by its id or `latest`, with the WAL after it; return its id. Raises Failed.

    `into` becomes a home of Barman, with a configuration of its own: barman.conf.
    """
    theirs = push.look()
    if wanted == "latest":
        wanted = next(reversed(theirs), "")
    chain = entries.chain(theirs, wanted) if wanted in theirs else []
    if not chain or set(chain) - set(theirs):
        listed = ", ".join(list(theirs)[-5:]) or "none"
        raise Failed("missing", f"the copy has no usable backup {wanted or 'yet'}; the newest ones are: {listed}")
    folder = empty(into) / place.server
    folder.mkdir()
    _room(into, theirs, chain)
    names = ["streaming/", "partial/", f"records/{wanted}.json", "identity.json", "copied-until"]
    names += [*(f"meta/{entries.info(one)}" for one in chain), *(f"base/{one}/" for one in chain)]
    place.fetch(names, folder)
    needed = entries.needed_wal(place.names("wals"), theirs[wanted])
    place.fetch_listed([f"wals/{name}" for name in needed], folder)
    for name in ("streaming", "wals", "records", "incoming"):
        (folder / name).mkdir(exist_ok=True)
    _tablespaces(place, folder, chain)
    (into / "barman.conf").write_text(
        f"[barman]\nbarman_user = barman\nbarman_home = {into}\nlog_file = {into}/barman.log\n{config.read_text()}"
    )
    return wanted


def _room(into: Path, theirs: dict[str, entries.Entry], chain: list[str]) -> None:
    sizes = [theirs[one].get("size", "") for one in chain]
    needed = sum(int(size) for size in sizes if size.isdigit()) + _SPARE
    free = shutil.disk_usage(into).free
    if free < needed:
        raise Failed(
            "room",
            f"the disk of {into} is too small to fetch the backup: {needed // 2**20} MB are needed,"
            f" {free // 2**20} MB are free",
        )


def _tablespaces(place: Destination, folder: Path, chain: list[str]) -> None:
    """Let the links to tablespaces point to what was fetched."""
    for backup in chain:
        for link in (folder / "base" / backup / "data/pg_tblspc").glob("*"):
            if link.is_symlink() and (to := str(link.readlink())).startswith(f"{place.folder}/"):
                link.unlink()
                link.symlink_to(folder / to.removeprefix(f"{place.folder}/"))


def fetch_all(place: Destination, push: Push, outcome: Outcome) -> list[str]:
    """Bring back the backups and the WAL that only the copy has; return the ids of these backups. Raises Failed."""
    theirs = push.look()
    lost = [one for one in theirs if one not in entries.read(place.folder / "meta")]
    names = ["wals/", "partial/", *(f"base/{one}/" for one in lost)]
    place.fetch(names, place.folder, once=True, without=NOT_WAL)
    beside = place.folder / ".second-copy" / "fetched"
    (beside / "records").mkdir(parents=True, exist_ok=True)
    place.fetch(["records/"], beside, once=True)
    shutil.copytree(beside / "records", place.records, dirs_exist_ok=True)
    # Before Barman sees the backups: the next run of the copy may then remove what Barman's retention removes.
    outcome.holds({*outcome.copied, *lost})
    place.fetch([f"meta/{entries.info(one)}" for one in lost], place.folder, once=True)
    ran = subprocess.run(["barman", "rebuild-xlogdb", place.server], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Failed("barman", "barman rebuild-xlogdb failed after the backups were fetched", ran.stdout + ran.stderr)
    return lost


def request(path: Path) -> str:
    """Return which backup a restore test asks for."""
    try:
        return str(json.loads(path.read_text())["wanted"]["backup"])
    except (OSError, ValueError, KeyError):
        return "latest"
