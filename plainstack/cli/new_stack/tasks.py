"""The Invoke tasks of this stack: Plainstack's own, and below them any that you add."""

from __future__ import annotations

from plainstack.cli.inv import namespace

__all__ = ["namespace"]
