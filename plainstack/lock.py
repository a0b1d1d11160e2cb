"""One run at a time on a host: a lock that dies with the run that holds it, and says who that is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from plainstack.errors import HostFailed
from plainstack.probe import LOCK, STATE
from plainstack.session import Session
from plainstack.ssh import fan_out

Release = Callable[[], None]


@dataclass(frozen=True)
class Held:
    """A host's lock: `generation` names the host's last change as of taking it."""

    generation: str
    release: Release


def holder(who: str, when: str, command: str) -> str:
    """What the lock tells others."""
    return f"{who} (pid {os.getpid()}) since {when}: {command}"


def hold(
    names: Iterable[str], session: Callable[[str], Session], told: str, path: str = LOCK
) -> tuple[dict[str, Held], list[str]]:
    """Try to take the lock of every host; gives those held, and a sentence for every other. Releasing is the caller's.

    The channel that holds a lock is the holder's own: it ends with the run, however that ends, and so does the lock.
    """
    text = (
        f'exec 9>>{path}; if flock -n 9; then printf "%s\\n" "$1" >{path};'
        f' echo "locked $(cat {STATE}/generation 2>/dev/null)"; cat >/dev/null; : >{path};'
        f' else echo "held $(cat {path})"; exit 75; fi'
    )
    line = f"sh -c {shlex.quote(text)} - {shlex.quote(told)}"
    held, problems = {}, []
    for name, answer in fan_out(names, lambda name: session(name).hold(line)).items():
        if isinstance(answer, HostFailed):
            problems.append(str(answer))
        elif answer[0].startswith("held "):
            problems.append(f"{name}: another run is at work: {answer[0].removeprefix('held ')}")
        else:
            held[name] = Held(answer[0].removeprefix("locked").strip(), answer[1])
    return held, problems
