"""Failover drills: a bounded load, a fault, the reaction, the recovery, and a verdict with a chart."""
