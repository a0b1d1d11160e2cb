"""The probe of a host: a script that reads the state of its resources, and the parser of its output."""

from __future__ import annotations

from plainstack.engine.probe.answer import parse
from plainstack.engine.probe.ask import DIVIDER, script

__all__ = ["DIVIDER", "parse", "script"]
