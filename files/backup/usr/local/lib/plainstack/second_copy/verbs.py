"""The command line: copy, check, fetch-test and fetch-all; all as Barman's account."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fetching
from destination import CONFIG, Destination, Failed, described
from outcome import Outcome
from over_ssh import Machine
from pushing import Push

REQUEST = Path("/run/plainstack-scratch/restore-test-copy.json")
FETCHED = "_copy"


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
    outcome = Outcome(place)
    try:
        if verb == "copy":
            return _copy(place, outcome)
        if verb == "check":
            return _check(place, outcome)
        stage = place.folder / ".second-copy"
        with alone(stage):
            place.wait()
            push = Push(place, outcome, stage)
            if verb == "fetch-test":
                wanted = fetching.request(REQUEST)
                found = fetching.fetch_one(place, push, wanted, place.scratch / FETCHED)
                sys.stdout.write(f"fetched backup {found} from {place.to}\n")
            else:
                lost = fetching.fetch_all(place, push, Outcome(place))
                sys.stdout.write("".join(f"fetched backup {one}\n" for one in lost) or "nothing was missing here\n")
    except Failed as error:
        return _report(error)
    return 0


def _copy(place: Destination, outcome: Outcome) -> int:
    stage = place.folder / ".second-copy"
    try:
        with alone(stage):
            place.wait()
            Push(place, outcome, stage).run()
    except Failed as error:
        outcome.failed(error)
        return _report(error)
    finally:
        if folder := os.environ.get("RUNTIME_DIRECTORY"):
            (Path(folder) / "new").write_text(outcome.metrics())
    return 0


def _check(place: Destination, outcome: Outcome) -> int:
    try:
        place.check()
    except Failed as error:
        if error.kind != "busy":
            outcome.failed(error)
            return _report(error)
    # The outcome of the last copy stays; this run only checked whether one is possible.
    outcome.checked()
    return 0


def _report(error: Failed) -> int:
    sys.stderr.write(f"{error}\n")
    for line in error.details.splitlines():
        sys.stderr.write(f"    {line}\n")
    return 1
