"""The paths of a db host as scripts use them: below $ROOT, which is empty except in tests."""

from __future__ import annotations

from plainstack.engine import paths
from plainstack.postgresql import layout


def _below_root(path: str) -> str:
    return f"${{ROOT:-}}{path}"


BIN = _below_root(layout.BIN)
ETC = _below_root(layout.ETC)
CLUSTERS = _below_root(layout.CLUSTERS)
DATA = _below_root(layout.DATA)
PASSFILE = _below_root(layout.PASSFILE)
START_GUARD = _below_root(layout.START_GUARD)
DEGRADED = _below_root(layout.DEGRADED)
FENCED = _below_root(layout.FENCED)
RESTORING = _below_root(layout.RESTORING)
REWINDING = _below_root(layout.REWINDING)
STATE = _below_root(paths.STATE)
