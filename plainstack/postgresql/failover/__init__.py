"""Failovers: decisions as pure generators of steps, and the scripts of the steps."""
