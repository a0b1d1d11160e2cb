"""The command line: copy, check, fetch-test and fetch-all; all as Barman's account."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import fetching
from destination import CONFIG, Destination, Failed, described
from outcome import Outcome
from over_ssh import Machine
from pushing import Push

REQUEST = Path("/run/plainstack-scratch/restore-test-copy.json")
FETCHED = "_copy"
# The longest time, in seconds, for which files of services are copied before backups and WAL get another turn.
_FILES_AT_ONCE = 600


def destination(config: Path = CONFIG) -> Destination:
    """Return the destination that the role wrote."""
    kind, fields = described(config)
    if kind == "s3":
        # Its client takes a while to load, and is only installed where it is needed.
        from in_s3 import Bucket

        return Bucket(**fields)
    return Machine(**fields)


@contextmanager
def alone(stage: Path) -> Iterator[None]:
    """Wait until no other run works on the copy, and keep others away."""
    stage.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (stage / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="second_copy", description="Keep a second copy of the backups.")
    parser.add_argument("verb", choices=("copy", "check", "fetch-test", "fetch-all"))
    verb = parser.parse_args().verb
    os.umask(0o077)
    place = destination()
    try:
        if verb == "copy":
            return _copy(place)
        if verb == "check":
            return _check(place)
        stage = place.folder / ".second-copy"
        with alone(stage):
            place.wait()
            outcome = Outcome(place)
            push = Push(place, outcome, stage)
            if verb == "fetch-test":
                try:
                    _fetch_test(place, push, outcome)
                except Failed as error:
                    _refuse(place, error)
                    raise
            else:
                _fetch_all(place, push, outcome, stage)
    except Failed as error:
        return _report(error)
    return 0


def _fetch_test(place: Destination, push: Push, outcome: Outcome) -> None:
    into = place.scratch / FETCHED
    found = fetching.fetch_one(place, push, fetching.request(REQUEST), into)
    sys.stdout.write(f"fetched backup {found} from {place.to}\n")
    if place.files:
        import fetch_files

        result = fetch_files.tested(place, outcome, into / "files", fetch_files.TESTED)
        # The restore test, which has no network, reports it.
        (into / "files.json").write_text(json.dumps(result))


def _refuse(place: Destination, error: Failed) -> None:
    """If the disk is too full for a restore test, record this as the program of restore tests does."""
    if error.kind == "room":
        folder = place.records.parent / "tests/from-copy/refused"
        folder.mkdir(parents=True, exist_ok=True)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"at": at, "backup": fetching.request(REQUEST), "why": str(error)}
        (folder / "last.json").write_text(json.dumps(about))


def _fetch_all(place: Destination, push: Push, outcome: Outcome, stage: Path) -> None:
    lost = fetching.fetch_all(place, push, outcome)
    sys.stdout.writelines(f"fetched backup {one}\n" for one in lost)
    if place.files:
        import fetch_files
        import kept_files

        for key in fetch_files.bring_back(place, outcome, place.files, stage / "files"):
            sys.stdout.write(f"fetched files {kept_files.says(key)}\n")


def _copy(place: Destination) -> int:
    stage = place.folder / ".second-copy"
    with alone(stage):
        outcome = Outcome(place)
        try:
            place.wait()
            _copy_all(place, outcome, stage)
        except Failed as error:
            outcome.failed(error)
            return _report(error)
        finally:
            if folder := os.environ.get("RUNTIME_DIRECTORY"):
                (Path(folder) / "new").write_text(outcome.metrics())
    return 0


def _copy_all(place: Destination, outcome: Outcome, stage: Path) -> None:
    """Copy the backups, and the files of services if there are any, in turns, so that WAL never waits for long."""
    while True:
        damaged = None
        try:
            Push(place, outcome, stage).run()
        except Failed as error:
            if error.kind != "damaged":
                raise
            damaged = error
        done = not place.files or _copy_files(place, outcome, place.files, stage)
        if damaged:
            raise damaged
        if done:
            return


def _copy_files(place: Destination, outcome: Outcome, root: Path, stage: Path) -> bool:
    import push_files

    return push_files.PushFiles(place, outcome, root, stage).run(time.monotonic() + _FILES_AT_ONCE)


def _check(place: Destination) -> int:
    try:
        place.check()
    except Failed as error:
        if error.kind != "busy":
            Outcome(place).failed(error)
            return _report(error)
    # The outcome of the last copy stays; this run only checked whether one is possible.
    Outcome(place).checked()
    return 0


def _report(error: Failed) -> int:
    sys.stderr.write(f"{error}\n")
    for line in error.details.splitlines():
        sys.stderr.write(f"    {line}\n")
    return 1
