"""A scratch cluster in a systemd unit, which goes on when the operator's connection ends: `run` is in the unit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

from life import Life, Wanted, remove, size_of
from place import Cluster, Failed, Place, last_lines, read_json, write_json
from recovery import Target

_LINES = 200


class State:
    """What a unit has done so far, in a file that `start` and `status` read."""

    def __init__(self, cluster: Cluster, request: dict[str, Any]) -> None:
        self._path = cluster.state
        self._known: dict[str, Any] = {"id": request["id"], "wanted": request["wanted"], "progress": []}
        cluster.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write()

    def say(self, line: str) -> None:
        """Add a line of progress."""
        self._known["progress"] = [*self._known["progress"], line][-_LINES:]
        self._known["said"] = self._known.get("said", 0) + 1
        self._write()

    def is_up(self, result: dict[str, Any]) -> None:
        """Record that the cluster is up."""
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
    return Wanted(options["backup"], target, options["timeline"], options["serve"], options["or_end"]), target


def run(place: Place, name: str) -> int:
    """Bring a cluster up as its request says, and keep it up until a signal; return the exit code."""
    cluster = place.cluster(name)
    request = read_json(cluster.request)
    if not request:
        sys.stderr.write(f"{cluster.request} does not say what to restore; run: scratch start {name}\n")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    state = State(cluster, request)
    wanted, target = wanted_of(request["wanted"])
    life = Life(cluster, wanted, state.say)
    try:
        life.restore()
        state.is_up(life.recover(target))
        assert life.server
        code = life.server.wait()
        raise Failed(f"the cluster has ended by itself, with code {code}", last_lines(cluster.log))
    except Failed as error:
        state.failed(error)
        sys.stderr.write(f"{error}\n{error.details}\n")
        life.stop()
        remove(cluster)
        return 1
    finally:
        life.stop()


def start(place: Place, name: str, options: dict[str, Any]) -> int:
    """Start the unit unless it is up with the same options, and show its progress until the cluster is up.

    Prints the result as JSON on the last line. Raises Failed.
    """
    cluster = place.cluster(name)
    request = read_json(cluster.request)
    if _is_active(cluster):
        if request.get("wanted") != options:
            raise Failed(f"scratch cluster {name} is in use with other options; end it with: scratch stop {name}")
    else:
        if options["serve"] and (other := _served(place, name)):
            raise Failed(f"scratch cluster {other} is already served; end it with: scratch stop {other}")
        request = {"id": str(uuid.uuid4()), "wanted": options}
        place.requests.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_json(cluster.request, request)
        _systemctl("reset-failed", cluster.unit)
        if (started := _systemctl("start", cluster.unit)).returncode:
            raise Failed(f"{cluster.unit} does not start: {started.stderr.strip()}")
    return _follow(cluster, request["id"])


def _follow(cluster: Cluster, identity: str) -> int:
    shown = 0
    while True:
        active = _is_active(cluster)
        state = read_json(cluster.state)
        if state.get("id") == identity:
            new = int(state.get("said", 0)) - shown
            shown += new
            for line in state["progress"][-new:] if new else ():
                print(line, flush=True)  # noqa: T201 - the output of this program
            if "result" in state:
                print(json.dumps(state["result"]), flush=True)  # noqa: T201
                return 0
            if "problem" in state:
                raise Failed(state["problem"], state["details"])
        if not active:
            words = ["journalctl", f"--unit={cluster.unit}", "--quiet", "--no-pager", "--output=cat", "--lines=12"]
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            raise Failed(f"{cluster.unit} has ended before the cluster was up", said)
        time.sleep(0.2)


def stop(place: Place, name: str) -> None:
    """End a cluster and delete it; do nothing if there is none. Raises Failed."""
    cluster = place.cluster(name)
    if (stopped := _systemctl("stop", cluster.unit)).returncode:
        raise Failed(f"{cluster.unit} does not stop: {stopped.stderr.strip()}")
    _systemctl("reset-failed", cluster.unit)
    if cluster.folder.exists():
        shutil.rmtree(cluster.folder)
    cluster.request.unlink(missing_ok=True)


def status(place: Place) -> list[dict[str, Any]]:
    """Return the name, state, options, result and size in bytes of all clusters."""
    found = []
    for name in place.names():
        cluster = place.cluster(name)
        state = read_json(cluster.state)
        if not _is_active(cluster):
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
        if one != but and wanted.get("serve") and _is_active(place.cluster(one)):
            return one
    return ""


def _is_active(cluster: Cluster) -> bool:
    words = ["systemctl", "show", "--property=ActiveState", "--value", cluster.unit]
    state = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return state in ("active", "activating", "deactivating", "reloading")


def _systemctl(verb: str, unit: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", verb, unit], capture_output=True, text=True, check=False)
