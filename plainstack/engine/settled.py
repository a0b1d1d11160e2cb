"""Wait until a host has finished or undone an earlier run; a plan made before then would be stale."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from plainstack.engine.observed import Observed
from plainstack.engine.paths import APPLY_LOCK, GUARD_SECONDS, GUARD_UNIT, LOCK

# Rolling back a guarded transaction takes a few seconds; the rest is a margin for slow hosts.
UNDO_WITHIN = 30
# Seconds to wait. After that, the plan uses the state as it is; a transaction that meets the earlier run waits for the
# host's lock.
SETTLED_WITHIN = GUARD_SECONDS + UNDO_WITHIN
# Seconds between two lines that the earlier run has printed.
PROGRESS_EVERY = 5

# Undo only while no run holds the lock: both the run that could confirm the change and its script have then ended.
UNDO_NOW = f"""\
state=${{ROOT:-}}
export PATH=${{ROOT:+$ROOT/bin:}}/usr/sbin:/usr/bin:/sbin:/bin
for lock in {LOCK} {APPLY_LOCK}; do
    [ ! -f "$state$lock" ] || flock -n -s "$state$lock" true || exit 0
done
for timer in $(systemctl list-units --plain --no-legend --state=active '{GUARD_UNIT}-*.timer' | cut -d ' ' -f 1); do
    systemctl start "${{timer%.timer}}.service"
done
"""


def settled(
    host: str,
    look: Callable[[], Observed],
    note: Callable[[str], None],
    undo: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = lambda seconds: Event().wait(seconds),
) -> Observed:
    """Return what `look` observes once the host has settled, or after SETTLED_WITHIN seconds.

    `note` is called with a sentence for each reason to wait: the host, what it is doing, and how long that takes at
    most; and with what the host prints meanwhile. `undo` makes the host undo at once a change that no run can confirm
    any more; without it, the host's timer does. With it, a step that is known to take longer is waited for.
    """
    give_up = clock() + SETTLED_WITHIN
    reported = ""
    printed, since = "", clock() - PROGRESS_EVERY
    asked = False
    while True:
        seen = look()
        reason = _unsettled(seen)
        if undo and seen.ending and seen.unfinished.left is not None:
            give_up = max(give_up, clock() + seen.unfinished.left + UNDO_WITHIN)
        if not reason or clock() > give_up:
            return seen
        if undo and not asked and seen.guard_pending and not (seen.lock or seen.ending):
            undo()
            asked = True
            note(
                f"{host}: an earlier run ended before it confirmed its change, so the host undoes the change (takes"
                " seconds)"
            )
            reported = reason
        elif reason != reported:
            most = min(_longest(seen), give_up - clock())
            note(f"{host}: waiting for the host to {reason} ({most:.0f} s at most)")
            reported = reason
        progress = seen.unfinished.progress
        if progress not in ("", printed) and clock() - since >= PROGRESS_EVERY:
            note(f"{host}: {progress}")
            printed, since = progress, clock()
        # The host cannot notify us, so poll once a second.
        pause(1)


def _unsettled(seen: Observed) -> str:
    if seen.ending:
        step = seen.unfinished.step
        return f"finish an earlier run, which has come to: {step}" if step else "finish an earlier run"
    return "undo the unconfirmed change of an earlier run" if seen.guard_pending else ""


def _longest(seen: Observed) -> float:
    if seen.ending and seen.unfinished.left is not None:
        return max(0, seen.unfinished.left) + UNDO_WITHIN
    if seen.ending or not seen.guard_pending:
        return SETTLED_WITHIN
    return (GUARD_SECONDS if seen.guard_left is None else max(0, seen.guard_left)) + UNDO_WITHIN
