"""One run at a time on a host: a lock that dies with the run that holds it, and says who that is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from plainstack.errors import HostFailed, Refused
from plainstack.probe import LOCK, STATE
from plainstack.session import Session
from plainstack.ssh import fan_out

Release = Callable[[], None]

DRILL = "/run/plainstack-drill.lock"


@dataclass(frozen=True)
class Locks:
    """The lock that a run holds alone, one that it shares, and one whose holder may be who shares it."""

    own: str
    shared: str = ""
    sharer: str = ""


RUN = Locks(LOCK, shared=DRILL)
# A drill is many runs, and keeps all others out from its first look to its verdict.
WHOLE_DRILL = Locks(DRILL, sharer=LOCK)
IN_DRILL = Locks(LOCK)

_HOLD = """
path=$1 told=$2 shared=$3 sharer=$4
busy() { echo "held $(cat "$path" "$shared" "$sharer" 2>/dev/null | head -n 1)"; exit 75; }
if [ -n "$shared" ]; then exec 8>>"$shared"; flock -n -s 8 || busy; fi
# Not at once: a probe that looks whether it is held has it for a moment itself.
exec 9>>"$path"; flock -w 0.5 9 || busy
printf "%s\\n" "$told" >"$path"
echo "locked $(cat {state}/generation 2>/dev/null)"
cat >/dev/null
: >"$path"
"""


def holder(who: str, when: str, command: str) -> str:
    """What the lock tells others."""
    return f"{who} (pid {os.getpid()}) since {when}: {command}"


def hold(
    names: Iterable[str],
    session: Callable[[str], Session],
    told: str,
    locks: Locks = RUN,
    generations: Mapping[str, str] | None = None,
) -> list[Release]:
    """Take the lock of every host, or of none; gives what releases them.

    `generations` names the last change of each host that the caller knows of. Raises Refused with a sentence for every
    host where somebody else is or was at work. The channel that holds a lock is the holder's own: it ends with the run,
    however that ends, and so does the lock.
    """
    words = shlex.join([locks.own, told, locks.shared, locks.sharer])
    line = f"sh -c {shlex.quote(_HOLD.replace('{state}', STATE))} - {words}"
    releases, problems = [], []
    for name, answer in fan_out(names, lambda name: session(name).hold(line)).items():
        if isinstance(answer, HostFailed):
            problems.append(str(answer))
            continue
        said, release = answer
        releases.append(release)
        generation = said.removeprefix("locked").strip()
        if not said.startswith("locked"):
            problems.append(f"{name}: another run is at work: {said.removeprefix('held ')}")
        elif generations is not None and generation != generations[name]:
            problems.append(f"{name}: another run changed this host since the plan was made; run again")
    if problems:
        for release in releases:
            release()
        raise Refused("\n".join(problems))
    return releases
