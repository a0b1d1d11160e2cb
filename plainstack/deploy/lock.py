"""Locks that allow one run at a time on a host. A lock ends with its run, and shows other runs who holds it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from plainstack.dataclass import dataclass
from plainstack.engine.paths import LOCK, STATE
from plainstack.errors import HostFailed, Refused
from plainstack.ssh.connections import fan_out

Release = Callable[[], None]

DRILL = "/run/plainstack-drill.lock"


class Holding(Protocol):
    """The part of plainstack.ssh.held.Held that locks need."""

    def ask(self, question: str, /) -> str:
        """Send the command a line, and return the line that it prints in reply."""

    def release(self) -> None:
        """End the command."""


class Lockable(Protocol):
    """The part of plainstack.ssh.session.Session that locks need."""

    def hold(self, command: str, /) -> Holding:
        """Start a command that runs until it is released."""


@dataclass(frozen=True)
class Locks:
    """The lock files of a kind of run: it locks `own` exclusively, and `shared` in shared mode.

    `sharer` is the file in which runs that hold `own` in shared mode write their names. It is read to name the holder.
    """

    own: str
    shared: str = ""
    sharer: str = ""


RUN = Locks(LOCK, shared=DRILL)
# A drill consists of many runs. This lock keeps all other runs out from the drill's first observation to its verdict.
WHOLE_DRILL = Locks(DRILL, sharer=LOCK)
IN_DRILL = Locks(LOCK)

_HOLD = """
read -r asked || exit 0
# ROOT is for tests.
path=${ROOT:-}$1 holder_text=$2 shared=${3:+${ROOT:-}$3} sharer=${4:+${ROOT:-}$4}
take() {
    if [ -n "$shared" ]; then exec 8>>"$shared"; flock -n -s 8 || return; fi
    # Wait a little: a probe that tests the lock holds it for a moment itself.
    exec 9>>"$path"; flock -w 0.5 9
}
tries=0
until take; do
    # Empty if the holder has only just taken the lock, or is releasing it because another host refused.
    said=$(cat "$path" "$shared" "$sharer" 2>/dev/null | head -n 1)
    tries=$((tries + 1))
    if [ -n "$said" ] || [ $tries = 10 ]; then printf "held %s\\n" "$said"; exit 75; fi
    sleep 0.1
done
printf "%s\\n" "$holder_text" >"$path"
echo "locked $(cat "${ROOT:-}{state}/generation" 2>/dev/null)"
cat >/dev/null
: >"$path"
"""


def holder(who: str, when: str, command: str) -> str:
    """Return the text that names the holder of a lock."""
    return f"{who} (pid {os.getpid()}) since {when}: {command}"


def hold(
    names: Iterable[str],
    session: Callable[[str], Lockable],
    holder_text: str,
    locks: Locks = RUN,
    generations: Mapping[str, str] | None = None,
) -> list[Release]:
    """Lock all hosts, or none; return the functions that release the locks.

    `generations` are the hosts' generations for which the plans were made, by host. Raises Refused, with the name of
    the host, if another run holds its lock (the message names that run), or has changed the host since the plan was
    made. A lock is held over an SSH channel of this run, so it ends with the run, even if the run is killed.

    The commands that hold the locks start on all hosts at once. The locks are then taken one by one, in the order of
    the hosts' names, up to the first refusal. So if several runs start at the same moment, one of them gets all its
    locks.
    """
    words = shlex.join([locks.own, holder_text, locks.shared, locks.sharer])
    line = f"sh -c {shlex.quote(_HOLD.replace('{state}', STATE))} - {words}"
    started = fan_out(sorted(names), lambda name: session(name).hold(line))
    holding = {name: held for name, held in started.items() if not isinstance(held, HostFailed)}
    try:
        for name, held in started.items():
            if isinstance(held, HostFailed):
                raise held
            _refuse(name, held.ask("take"), (generations or {}).get(name))
    except (HostFailed, Refused) as error:
        for held in holding.values():
            held.release()
        raise Refused(str(error)) from None
    return [held.release for held in holding.values()]


def _refuse(name: str, said: str, generation: str | None) -> None:
    """Raise Refused unless this run now holds the lock and the host has not changed since its probe."""
    state, _, rest = said.partition(" ")
    if state == "held":
        raise Refused(f"{name}: another run is at work: {rest or 'its holder is unknown'}")
    if state != "locked":
        raise Refused(f"{name}: the lock could not be taken" + (f": {said}" if said else ""))
    if generation is not None and rest != generation:
        raise Refused(f"{name}: another run changed this host since the plan was made. Run the same command again")
