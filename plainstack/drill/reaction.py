"""The operator's part in a drill: unplug and plug in cables, and run failover commands."""

from __future__ import annotations

from plainstack.deploy.failover import Cluster
from plainstack.inventory.stack import Stack
from plainstack.lab import breaks
from plainstack.lab.of_inventory import of
from plainstack.postgresql.observation import Topology


class Reaction:
    """The operator's actions, each over new connections: an old one to a dead host fails only after a timeout."""

    def __init__(self, stack: Stack, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lab = of(stack) if stack.in_lab else None

    def cut(self, host: str) -> None:
        """Unplug a lab host's cables."""
        assert self._lab is not None
        breaks.cut(self._lab, host)

    def mend(self, host: str) -> None:
        """Plug in a lab host's cables."""
        assert self._lab is not None
        breaks.mend(self._lab, host)

    def promote(self) -> str:
        """Promote a standby after the primary has failed; return the new primary, or "" if it is not certain."""
        return _leader(self._cluster.promote())

    def switchover(self) -> str:
        """Hand over to a standby as planned; return the new primary, or "" if it is not certain."""
        return _leader(self._cluster.switchover())

    def rejoin(self, host: str) -> None:
        """Make an old primary a standby."""
        self._cluster.rejoin(host)

    def leader(self) -> str:
        """Return the only primary that the other hosts do not fence off; "" if there is none, or more than one."""
        return _leader(self._cluster.observe())


def _leader(topology: Topology) -> str:
    leading = [node.name for node in topology.primaries if not topology.fenced_everywhere(node.name)]
    return leading[0] if len(leading) == 1 else ""
