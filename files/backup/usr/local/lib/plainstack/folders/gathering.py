"""Take snapshots of all folders, remove those that are no longer needed, and test the newest ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import snapshots
from snapshots import Config, Folder, Snapshot

PROGRAM = Path(__file__).resolve().parent
# rsync's exit code if files vanished while it read them, as in any folder that is in use.
VANISHED = 24
# The mode bits that a snapshot leaves out: it must stay readable here, and its unit may not create set-id files.
_MODES = "ug-s,Du+rwx,Fu+r"
_KEEP = ("--recursive", "--links", "--perms", "--times", "--numeric-ids", "--delete", f"--chmod={_MODES}")
# How many damaged files of a snapshot are named.
_NAMED = 20


class Failed(Exception):
    """What went wrong, as one sentence."""


def take(config: Config) -> list[str]:
    """Take a snapshot of each folder; return what failed, as sentences."""
    problems = []
    for folder in config.folders:
        try:
            taken = _take(config, folder)
        except (Failed, OSError) as error:
            problems.append(f"{folder.says}: {error}")
        else:
            _say(f"{folder.says}: {taken.files} files, snapshot {taken.id}")
    for _folder, found in snapshots.every(config.root):
        for old in snapshots.obsolete(found, config.retention, time.time()):
            _remove(old.path)
    _write(config.root / snapshots.STATE, {"at": time.time(), "problems": problems})
    return problems


def _take(config: Config, folder: Folder) -> Snapshot:
    begin = time.time()
    place = folder.place(config.root)
    new = place / ".new"
    # What an interrupted run has fetched is not fetched again.
    (new / snapshots.TREE).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (snapshots.MANIFEST, snapshots.ABOUT):
        (new / name).unlink(missing_ok=True)
    known = snapshots.of(folder, config.root)
    # A damaged file must not come into another snapshot: to rsync it may look unchanged.
    before = known[-1] if known and not known[-1].damaged else None
    links = [f"--link-dest={before.path / snapshots.TREE}"] if before else []
    if known and not before:
        _remove(new)
        (new / snapshots.TREE).mkdir(mode=0o700, parents=True)
    _rsync(config, "read", folder, *_KEEP, *links, f"{folder.host}:", f"{new / snapshots.TREE}/", accepted=[VANISHED])
    entries = snapshots.manifest(new / snapshots.TREE, snapshots.inodes(before) if before else {})
    snapshots.write(new, entries)
    sizes = [size for kind, _mode, size, _content in entries.values() if kind == "file"]
    about = {"begin": begin, "end": time.time(), "files": len(sizes), "size": sum(sizes)}
    _write(new / snapshots.ABOUT, about)
    while (final := place / snapshots.name(begin)).exists():
        begin += 1
    os.sync()
    new.rename(final)
    return snapshots.of(folder, config.root)[-1]


def test(config: Config) -> list[str]:
    """Compare the newest snapshot of each folder with its manifest; return what differs, as sentences."""
    problems: list[str] = []
    for folder in config.folders:
        found = snapshots.of(folder, config.root)
        if not found:
            problems.append(f"{folder.says}: there is no snapshot. Take one: inv backup-now")
            continue
        differing = check(found[-1])
        problems += differing
        if not differing:
            _say(f"{folder.says}: {found[-1].files} files are as they were, snapshot {found[-1].id}")
    return problems


def check(snapshot: Snapshot) -> list[str]:
    """Compare a snapshot with its manifest, and record the result; return what differs, as sentences."""
    differing = list(snapshots.differences(snapshot))
    if len(differing) > _NAMED:
        differing[_NAMED:] = [f"{snapshot.folder.says}: {len(differing) - _NAMED} more files differ"]
    _write(snapshot.path / snapshots.TEST, {"at": time.time(), "passed": not differing, "problems": differing})
    return differing


def send(config: Config, snapshot: Snapshot, host: str) -> None:
    """Bring the files of a snapshot to a host whose folder was prepared for it. Raises Failed."""
    if differing := check(snapshot):
        raise Failed("; ".join(differing))
    to = Folder(snapshot.folder.service, snapshot.folder.folder, host)
    _rsync(config, "write", to, *_KEEP[:-1], f"{snapshot.path / snapshots.TREE}/", f"{host}:")


def _rsync(config: Config, verb: str, folder: Folder, *words: str, accepted: Sequence[int] = ()) -> None:
    shell = f"/usr/bin/python3 -I {PROGRAM} connect {verb} {folder.key} {config.port}"
    line = ["rsync", "--timeout=120", f"--rsh={shell}", *words]
    # The messages of rsync are read, so they must not be translated.
    settings = {**os.environ, "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=settings
    )
    if ran.returncode and ran.returncode not in accepted:
        raise Failed(meaning(ran.returncode, ran.stderr, config.here, folder.host))


def meaning(code: int, said: str, here: str, host: str) -> str:
    """Return what rsync's exit code and error output mean, as a sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if mine := [line for line in lines if line.startswith((f"{host} cannot be", f"{host} refuses"))]:
        return mine[0]
    if full := next((line for line in lines if re.search(r"No space left on device|Disk quota exceeded", line)), ""):
        where = host if "[receiver]" not in full and "write" not in full else here
        return f"the disk of {where} is full: {full}"
    first = lines[0] if lines else "it says nothing"
    return f"rsync failed with code {code}: {first}"


def metrics(config: Config) -> str:
    """Return the metrics of the newest snapshots in Prometheus' text format."""
    lines: list[str] = []
    texts = {
        "plainstack_files_snapshot_timestamp_seconds": "When the newest snapshot was complete; 0 if there is none.",
        "plainstack_files_snapshot_bytes": "Size of the files in the newest snapshot.",
        "plainstack_files_test_timestamp_seconds": "When the newest tested snapshot was tested; 0 if none was.",
        "plainstack_files_test_passed": "Whether the newest tested snapshot was unchanged; NaN if none was tested.",
    }
    found = {folder: snapshots.of(folder, config.root) for folder in config.folders}
    for name, text in texts.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for folder, known in found.items():
            labels = f'files="{folder.key}",of="{folder.host}"'
            lines.append(f"{name}{{{labels}}} {_values(known)[name]}")
    return "\n".join(lines) + "\n"


def _values(known: Sequence[Snapshot]) -> dict[str, float]:
    tested = [one for one in known if one.test]
    return {
        "plainstack_files_snapshot_timestamp_seconds": known[-1].end if known else 0,
        "plainstack_files_snapshot_bytes": known[-1].size if known else 0,
        "plainstack_files_test_timestamp_seconds": max((one.test["at"] for one in tested), default=0),
        "plainstack_files_test_passed": float(tested[-1].test["passed"]) if tested else float("nan"),
    }


def _remove(path: Path) -> None:
    """Delete a snapshot; even if this is interrupted, it no longer counts as one."""
    (path / snapshots.ABOUT).unlink(missing_ok=True)
    shutil.rmtree(path)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(value))
    new.replace(path)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
