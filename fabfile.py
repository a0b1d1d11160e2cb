"""The Fabric tasks of this stack: Plainstack's own, and below them any that you add."""

from __future__ import annotations

from plainstack.cli.fab import namespace

__all__ = ["namespace"]
