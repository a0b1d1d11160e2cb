"""A scratch cluster in a systemd unit, which continues when the operator's connection ends: `run` is in the unit."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from disk import size_of
from life import Life, Wanted, remove
from place import Failed, Place, last_lines, read_json, write_json
from recovery import Target

_LINES = 200


class State:
    """What a unit has done so far, in a file that `start`, `status` and `test` read."""

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        self._path = path
        self._known: dict[str, Any] = {"id": request["id"], "wanted": request["wanted"], "progress": []}
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write()

    def say(self, line: str) -> None:
        """Add a line of progress."""
        self._known["progress"] = [*self._known["progress"], line][-_LINES:]
        self._known["said"] = self._known.get("said", 0) + 1
        # On a full disk, the work itself fails, and says so.
        with contextlib.suppress(OSError):
            self._write()

    def done(self, result: dict[str, Any]) -> None:
        """Record that the cluster is up, or the result of a test."""
        self._known["result"] = result
        self._write()

    def failed(self, why: Failed) -> None:
        """Record why there is no cluster."""
        self._known.pop("result", None)
        self._known |= {"problem": str(why), "details": why.details}
        self._write()

    def _write(self) -> None:
        write_json(self._path, self._known)


def wanted_of(options: dict[str, Any]) -> tuple[Wanted, Target]:
    """Return what a request asks for."""
    target = Target(*options["target"])
    return Wanted(
        options["backup"], target, options["timeline"], options["serve"], options["dump"], options["or_end"]
    ), target


def run(place: Place, name: str) -> int:
    """Bring a cluster up as its request says, and keep it up until a signal; return the exit code."""
    cluster = place.cluster(name)
    request = read_json(cluster.request)
    if not request:
        sys.stderr.write(f"{cluster.request} does not say what to restore; run: scratch start {name}\n")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    wanted, target = wanted_of(request["wanted"])
    try:
        state = State(cluster.state, request)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {cluster.folder}\n")
        return 1
    life = Life(cluster, wanted, state.say)
    try:
        life.restore()
        state.done(life.recover(target))
        assert life.server
        code = life.server.wait()
        raise Failed(f"the cluster has ended by itself, with code {code}", last_lines(cluster.log))
    except (Failed, OSError) as error:
        life.stop()
        why = life.explained(error)
        remove(cluster)
        state.failed(why)
        sys.stderr.write(f"{why}\n{why.details}\n")
        return 1
    finally:
        life.stop()


def start(place: Place, name: str, options: dict[str, Any]) -> None:
    """Start the unit unless it is up with the same options, and show its progress until the cluster is up.

    Prints the result as JSON on the last line. Raises Failed.
    """
    cluster = place.cluster(name)
    request = read_json(cluster.request)
    if is_active(cluster.unit):
        if request.get("wanted") != options:
            raise Failed(f"scratch cluster {name} is in use with other options; end it with: scratch stop {name}")
    else:
        if (options["serve"] or options["dump"]) and (other := _served(place, name)):
            raise Failed(f"scratch cluster {other} is already served; end it with: scratch stop {other}")
        request = {"id": str(uuid.uuid4()), "wanted": options}
        place.requests.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_json(cluster.request, request)
        systemctl("reset-failed", cluster.unit)
        if (started := systemctl("start", cluster.unit)).returncode:
            raise Failed(f"{cluster.unit} does not start: {started.stderr.strip()}")
    follow(cluster.unit, cluster.state, request["id"])


def follow(unit: str, path: Path, identity: str) -> dict[str, Any]:
    """Print the progress of a unit, then its result as JSON; return the result. Raises Failed if there is none."""
    shown = 0
    while True:
        active = is_active(unit)
        state = read_json(path)
        if state.get("id") == identity:
            new = int(state.get("said", 0)) - shown
            shown += new
            for line in state["progress"][-new:] if new else ():
                print(line, flush=True)  # noqa: T201 - the output of this program
            if "result" in state:
                print(json.dumps(state["result"]), flush=True)  # noqa: T201 - likewise
                return dict(state["result"])
            if "problem" in state:
                raise Failed(state["problem"], state["details"])
        if not active:
            first, *rest = said(unit, "--identifier=python3").splitlines() or [f"{unit} has ended before it was done"]
            raise Failed(first, "\n".join(rest) or said(unit))
        time.sleep(0.2)


def stop(place: Place, name: str) -> None:
    """End a cluster and delete it; do nothing if there is none. Raises Failed."""
    cluster = place.cluster(name)
    if (stopped := systemctl("stop", cluster.unit)).returncode:
        raise Failed(f"{cluster.unit} does not stop: {stopped.stderr.strip()}")
    systemctl("reset-failed", cluster.unit)
    if cluster.folder.exists():
        shutil.rmtree(cluster.folder)
    cluster.request.unlink(missing_ok=True)


def status(place: Place) -> list[dict[str, Any]]:
    """Return the name, state, options, result and size in bytes of all clusters."""
    found = []
    for name in place.names():
        cluster = place.cluster(name)
        state = read_json(cluster.state)
        if not is_active(cluster.unit):
            word = "failed" if "problem" in state else "left over"
        else:
            word = "up" if "result" in state else "restoring"
        found.append(
            {
                "name": name,
                "state": word,
                "wanted": state.get("wanted"),
                "result": state.get("result"),
                "problem": state.get("problem"),
                "size_bytes": size_of(cluster.folder),
            }
        )
    return found


def _served(place: Place, but: str) -> str:
    for one in place.names():
        wanted = read_json(place.cluster(one).state).get("wanted") or {}
        if one != but and (wanted.get("serve") or wanted.get("dump")) and is_active(place.cluster(one).unit):
            return one
    return ""


def said(unit: str, *options: str) -> str:
    """Return the last lines in the journal about a unit, limited by options of journalctl."""
    words = ["journalctl", f"--unit={unit}", "--invocation=0", "--quiet", "--no-pager", "--output=cat", "--lines=12"]
    words += options
    # On a busy host, what the unit has just said is not in the journal yet.
    subprocess.run(["timeout", "5", "journalctl", "--sync"], capture_output=True, check=False)
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def is_active(unit: str) -> bool:
    """Return whether a unit runs, or is about to."""
    shown = systemctl("show", "--property=ActiveState,Job", unit).stdout
    known = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    # A unit that waits for another one has a job.
    waits = known.get("Job", "0") not in ("", "0")
    return waits or known.get("ActiveState") in ("active", "activating", "deactivating", "reloading")


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemctl."""
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
