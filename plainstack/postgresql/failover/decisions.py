"""Decisions of a failover: pure generators that yield phases and receive the topology observed after each phase.

Nothing is stored between runs: every decision depends only on the observed topology. To finish an interrupted run, the
operator types the same command again.
"""

from plainstack.postgresql.failover.phases import NEAR, Do, Phase, Plan, Step
from plainstack.postgresql.failover.promotion import promote
from plainstack.postgresql.failover.rejoin import degrade, rejoin, resync
from plainstack.postgresql.failover.switchover import switchover

__all__ = ["NEAR", "Do", "Phase", "Plan", "Step", "degrade", "promote", "rejoin", "resync", "switchover"]
