"""The paths of Plainstack's state on a host, and names that several scripts share."""

from __future__ import annotations

STATE = "/var/lib/plainstack"
LOCK = "/run/plainstack.lock"
APPLY_LOCK = "/run/plainstack-apply.lock"
GUARD_UNIT = "plainstack-guard"
# Where systemd keeps the files of units that systemd-run made, such as the guard's.
TRANSIENT = "/run/systemd/transient"
# How long a host waits for the operator to confirm a change that could lock them out.
GUARD_SECONDS = 180
