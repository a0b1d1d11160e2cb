"""Short time limits for commands that people type during an outage."""

from __future__ import annotations

from plainstack.inventory.stack import Stack

# Seconds. A host that is up accepts a connection at once, and every second of waiting prolongs the outage.
CONNECT_WITHIN = 1


def hurried(stack: Stack) -> Stack:
    """Return the stack with a short limit for connections, so that the command soon gives up on a host that is down."""
    limit = min(CONNECT_WITHIN, stack.ssh.connect_timeout)
    return stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"connect_timeout": limit})})
