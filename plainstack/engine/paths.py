"""Where a host keeps what Plainstack knows of it, and the names that its scripts agree on."""

from __future__ import annotations

STATE = "/var/lib/plainstack"
LOCK = "/run/plainstack.lock"
APPLY_LOCK = "/run/plainstack-apply.lock"
GUARD_UNIT = "plainstack-guard"
# How long a host waits for the operator's word on a change that could lock him out.
GUARD_SECONDS = 180
