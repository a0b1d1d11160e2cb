"""The script of every step of a restore, framed like a failover's: it runs as root, and can be run again."""

from __future__ import annotations

from plainstack.inventory.stack import Stack
from plainstack.postgresql.failover import steps as failover
from plainstack.postgresql.restore.acts import Act, AnyStep, RestoreStep
from plainstack.postgresql.restore.step_scripts import body
from plainstack.postgresql.step_frame import Origin, framed

_DAY = 24 * 3600
_LONG = {
    Act.RECOVER: _DAY,
    Act.COPY: _DAY,
    Act.BACKUP: _DAY,
    Act.DISCARD: 3600,
    Act.COPY_FILES: _DAY,
    Act.DISCARD_FILES: 3600,
}
# A long step of a killed run may still be running on the host; this run then waits for it and continues from there.
_PATIENCE = _DAY


def seconds(step: AnyStep) -> float:
    """Return the timeout of a step in seconds; those that copy data get a day."""
    if isinstance(step, RestoreStep):
        return _LONG.get(step.do, 900)
    return max(failover.seconds(step), 300)


def script(stack: Stack, step: AnyStep, origin: Origin) -> str:
    """Return the step's whole script, which also appends a line to the host's audit log."""
    text = body(stack, step, origin.who) if isinstance(step, RestoreStep) else failover.body(stack, step)
    return framed(text, step.says, origin, "restore", _PATIENCE)
