"""The probe of a host: one script that reads all that its resources concern, and what its answer means."""

from __future__ import annotations

from plainstack.engine.probe.answer import parse
from plainstack.engine.probe.ask import script

__all__ = ["parse", "script"]
