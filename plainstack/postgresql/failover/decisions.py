"""Decisions of a failover: pure generators that yield phases of steps and get the topology observed after each.

Nothing is remembered between runs: every decision is made from what is observed. A run that was interrupted anywhere
is therefore finished by typing the same command again.
"""

from plainstack.postgresql.failover.phases import NEAR, Do, Phase, Plan, Step
from plainstack.postgresql.failover.promotion import promote
from plainstack.postgresql.failover.rejoin import degrade, rejoin, resync
from plainstack.postgresql.failover.switchover import switchover

__all__ = ["NEAR", "Do", "Phase", "Plan", "Step", "degrade", "promote", "rejoin", "resync", "switchover"]
