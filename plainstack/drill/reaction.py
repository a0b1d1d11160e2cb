"""What the drill does in the operator's place: unplug and plug in cables, and run failover commands."""

from __future__ import annotations

from plainstack.deploy.failover import Cluster
from plainstack.inventory.stack import Stack
from plainstack.lab import breaks
from plainstack.lab.of_inventory import of
from plainstack.postgresql.observation import Topology


class Reaction:
    """The operator's actions, each over new connections: a kept one to a dead host fails only after a timeout."""

    def __init__(self, stack: Stack, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lab = of(stack) if stack.in_lab else None

    def cut(self, host: str) -> None:
        """Unplug a lab host's cables."""
        assert self._lab is not None
        breaks.cut(self._lab, host)

    def mend(self, host: str) -> None:
        """Reconnect them."""
        assert self._lab is not None
        breaks.mend(self._lab, host)

    def promote(self) -> str:
        """The primary has failed: promote a standby."""
        return _leader(self._cluster.promote())

    def switchover(self) -> str:
        """Hand over to a standby as planned."""
        return _leader(self._cluster.switchover())

    def rejoin(self, host: str) -> None:
        """Make the old primary a standby."""
        self._cluster.rejoin(host)

    def leader(self) -> str:
        """The current primary, unless the other hosts fence it off; empty if there is none."""
        return _leader(self._cluster.observe())


def _leader(topology: Topology) -> str:
    leading = [node.name for node in topology.primaries if not topology.fenced_everywhere(node.name)]
    return leading[0] if len(leading) == 1 else ""
