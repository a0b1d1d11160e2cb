"""What the drill does as the operator: pull and plug cables, and the failover commands."""

from __future__ import annotations

from plainstack.deploy.failover import Cluster
from plainstack.inventory.stack import Stack
from plainstack.lab import breaks
from plainstack.lab.of_inventory import of
from plainstack.postgresql.observation import Topology


class Reaction:
    """The operator's hands. A fresh cluster connects when it is used: a kept connection to a dead host says so late."""

    def __init__(self, stack: Stack, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lab = of(stack) if stack.in_lab else None

    def cut(self, host: str) -> None:
        """Pull the cables of a lab host."""
        assert self._lab is not None
        breaks.cut(self._lab, host)

    def mend(self, host: str) -> None:
        """Plug them in again."""
        assert self._lab is not None
        breaks.mend(self._lab, host)

    def promote(self) -> str:
        """The primary is gone: give its name to the next one."""
        return _leader(self._cluster.promote())

    def switchover(self) -> str:
        """Hand over in order."""
        return _leader(self._cluster.switchover())

    def rejoin(self, host: str) -> None:
        """Make the old primary a standby."""
        self._cluster.rejoin(host)

    def leader(self) -> str:
        """Who leads now: a primary that is not shut out by the others; empty when there is none."""
        return _leader(self._cluster.observe())


def _leader(topology: Topology) -> str:
    leading = [node.name for node in topology.primaries if not topology.shut_out(node.name)]
    return leading[0] if len(leading) == 1 else ""
