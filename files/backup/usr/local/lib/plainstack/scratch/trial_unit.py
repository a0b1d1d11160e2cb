"""The systemd unit of restore tests, which is cut off from the network: `run` is in the unit."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import service
from place import Failed, Place, read_json, write_json
from service import State
from trial import NAME, Trial


@dataclass(frozen=True)
class Kind:
    """A kind of restore tests: its name, which is also that of its cluster, and the unit that must end before it."""

    name: str
    first: str = ""

    @property
    def unit(self) -> str:
        """The unit that carries it out."""
        return f"plainstack-{self.name}.service"


USUAL = Kind(NAME)
COPY = Kind(f"{NAME}-copy", "plainstack-fetch-copy@test.service")
# What the timer asks for.
_BY_TIMER = {"backup": "latest", "target": ["", ""], "timeline": 0, "serve": False, "dump": False, "or_end": True}


def _state(place: Place, kind: Kind) -> Path:
    # Not in the cluster's folder, which is deleted at the end.
    return place.scratch / f".{kind.name}.json"


def _request(place: Place, kind: Kind) -> Path:
    return place.requests / f"{kind.name}.json"


def run(place: Place, kind: Kind = USUAL) -> int:
    """Carry out a test; return the exit code, 1 if the test failed."""
    request = read_json(_request(place, kind)) or {"id": str(uuid.uuid4()), "wanted": _BY_TIMER}
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    state = State(_state(place, kind), request)
    wanted = request["wanted"]
    try:
        source = place.of_copy() if kind == COPY else place
        result = Trial(source, service.wanted_of(wanted)[0], state.say, kind.name).run()
    except Failed as error:
        state.failed(error)
        sys.stderr.write(f"{error}\n{error.details}\n")
        return 1
    state.done(result)
    for problem in result["problems"]:
        sys.stderr.write(f"{problem}\n")
    return 0 if result["passed"] else 1


def start(place: Place, options: dict[str, Any], kind: Kind = USUAL) -> int:
    """Start a test unless the same one is running, show its progress, and print its result; return the exit code."""
    if service.is_active(kind.unit):
        state = read_json(_state(place, kind))
        if state.get("wanted") != options:
            raise Failed("another restore test is running; wait until it has ended")
        identity = str(state["id"])
    else:
        identity = str(uuid.uuid4())
        place.requests.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_json(_request(place, kind), {"id": identity, "wanted": options})
        service.systemctl("reset-failed", kind.unit, *([kind.first] if kind.first else []))
        if (started := service.systemctl("start", "--no-block", kind.unit)).returncode:
            raise Failed(f"{kind.unit} does not start: {started.stderr.strip()}")
    if kind.first:
        _await(kind.first)
    result = service.follow(kind.unit, _state(place, kind), identity)
    return 0 if result["passed"] else 1


def _await(unit: str) -> None:
    """Wait until the unit that fetches the backup has ended. Raises Failed if it failed."""
    print("fetching the backup from the second copy", flush=True)  # noqa: T201 - the output of this program
    while service.is_active(unit):
        time.sleep(0.2)
    result = service.systemctl("show", "--property=Result", "--value", unit).stdout.strip()
    if result != "success":
        first, *rest = service.said(unit, "--identifier=python3").splitlines() or [f"{unit} failed: {result}"]
        raise Failed(first, "\n".join(rest))
