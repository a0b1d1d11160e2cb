"""The systemd unit of restore tests, which is cut off from the network: `run` is in the unit."""

from __future__ import annotations

import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import service
from place import Failed, Place, read_json, write_json
from recovery import Target
from service import State
from trial import NAME, Trial

UNIT = "plainstack-restore-test.service"
# What the timer asks for.
_USUAL = {"backup": "latest", "target": ["", ""], "timeline": 0, "serve": False, "dump": False, "or_end": True}


def _state(place: Place) -> Path:
    # Beside the cluster, which is deleted in the end.
    return place.scratch / f".{NAME}.json"


def _request(place: Place) -> Path:
    return place.requests / f"{NAME}.json"


def run(place: Place) -> int:
    """Carry out a test; return the exit code, 1 if it was not passed."""
    request = read_json(_request(place)) or {"id": str(uuid.uuid4()), "wanted": _USUAL}
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    state = State(_state(place), request)
    wanted = request["wanted"]
    try:
        result = Trial(place, wanted["backup"], Target(*wanted["target"]), state.say).run()
    except Failed as error:
        state.failed(error)
        sys.stderr.write(f"{error}\n{error.details}\n")
        return 1
    state.done(result)
    for problem in result["problems"]:
        sys.stderr.write(f"{problem}\n")
    return 0 if result["passed"] else 1


def start(place: Place, options: dict[str, Any]) -> int:
    """Start a test unless the same one is running, show its progress, and print its result; return the exit code."""
    if service.is_active(UNIT):
        state = read_json(_state(place))
        if state.get("wanted") != options:
            raise Failed("another restore test is running; wait until it has ended")
        identity = str(state["id"])
    else:
        identity = str(uuid.uuid4())
        place.requests.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_json(_request(place), {"id": identity, "wanted": options})
        service.systemctl("reset-failed", UNIT)
        if (started := service.systemctl("start", "--no-block", UNIT)).returncode:
            raise Failed(f"{UNIT} does not start: {started.stderr.strip()}")
    result = service.follow(UNIT, _state(place), identity)
    return 0 if result["passed"] else 1
