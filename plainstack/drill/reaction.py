"""What the drill does as the operator: pull and plug cables, and the failover commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plainstack.stack import Stack

if TYPE_CHECKING:
    from plainstack.database.observation import Topology
    from plainstack.database.operations import Cluster


class Reaction:
    """The operator's hands. A fresh cluster connects when it is used: a kept connection to a dead host says so late."""

    def __init__(self, stack: Stack, cluster: Cluster) -> None:
        self._stack, self._cluster = stack, cluster

    def cut(self, host: str) -> None:
        """Pull the cables of a lab host."""
        from plainstack.lab import up
        from plainstack.lab_commands import of

        up.cut(of(self._stack), host)

    def mend(self, host: str) -> None:
        """Plug them in again."""
        from plainstack.lab import up
        from plainstack.lab_commands import of

        up.mend(of(self._stack), host)

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
