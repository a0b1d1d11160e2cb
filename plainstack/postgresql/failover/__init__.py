"""Failovers: the decisions, as pure generators of phases, and the scripts of their steps."""
