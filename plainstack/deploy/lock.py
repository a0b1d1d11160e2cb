"""One run at a time on a host: a lock that dies with the run that holds it, and says who that is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from plainstack.engine.paths import LOCK, STATE
from plainstack.errors import HostFailed, Refused

Release = Callable[[], None]

DRILL = "/run/plainstack-drill.lock"


class Lockable(Protocol):
    """What a lock is taken over: plainstack.ssh.session.Session."""

    def hold(self, command: str, /) -> tuple[str, Release]:
        """Start a command that lives until it is released; gives its first line of output, and what releases it."""


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
take() {
    if [ -n "$shared" ]; then exec 8>>"$shared"; flock -n -s 8 || return; fi
    # Not at once: a probe that looks whether it is held has it for a moment itself.
    exec 9>>"$path"; flock -w 0.5 9
}
tries=0
until take; do
    # Empty while a holder has just taken it, or is giving it back because another host refused it.
    said=$(cat "$path" "$shared" "$sharer" 2>/dev/null | head -n 1)
    tries=$((tries + 1))
    if [ -n "$said" ] || [ $tries = 10 ]; then echo "held $said"; exit 75; fi
    sleep 0.1
done
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
    session: Callable[[str], Lockable],
    told: str,
    locks: Locks = RUN,
    generations: Mapping[str, str] | None = None,
) -> list[Release]:
    """Take the lock of every host, or of none; gives what releases them.

    `generations` names the last change of those hosts that a plan was made for. Raises Refused with the host where
    another run is or was at work, and whose run it is. The channel that holds a lock is the holder's own: it ends with
    the run, however that ends, and so does the lock.

    All runs take the locks in the order of the hosts' names, one after another, and stop at the first refusal: of runs
    that start at the same moment, the one that is refused last was refused by a run that nothing stops any more.
    """
    words = shlex.join([locks.own, told, locks.shared, locks.sharer])
    line = f"sh -c {shlex.quote(_HOLD.replace('{state}', STATE))} - {words}"
    releases: list[Release] = []
    try:
        for name in sorted(names):
            said, release = session(name).hold(line)
            releases.append(release)
            _refuse(name, said, (generations or {}).get(name))
    except (HostFailed, Refused) as error:
        for release in releases:
            release()
        raise Refused(str(error)) from None
    return releases


def _refuse(name: str, said: str, generation: str | None) -> None:
    """Raise Refused unless a host's answer says that the lock is held, and that nothing changed since the probe."""
    state, _, rest = said.partition(" ")
    if state == "held":
        raise Refused(f"{name}: another run is at work: {rest or 'it has not said whose'}")
    if state != "locked":
        raise Refused(f"{name}: the lock could not be taken" + (f": {said}" if said else ""))
    if generation is not None and rest != generation:
        raise Refused(f"{name}: another run changed this host since the plan was made; run again")
