"""The last restore test of a backup, as the backup host keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from plainstack.dataclass import dataclass


@dataclass(frozen=True)
class RestoreTest:
    """The result of a backup's last restore test; `seconds` is how long the restore took (RTO).

    `host` is the db host that it ran on; None means the backup host.
    """

    backup: str
    at: datetime
    passed: bool
    seconds: float | None = None
    rpo_seconds: float | None = None
    problems: tuple[str, ...] = ()
    host: str | None = None

    @classmethod
    def parse(cls, backup: str, data: Mapping[str, Any]) -> RestoreTest:
        """Return the result that was kept. Raises KeyError, TypeError or ValueError if it is not one."""
        return cls(
            backup,
            datetime.fromisoformat(data["at"]).astimezone(UTC),
            bool(data["passed"]),
            data.get("seconds"),
            data.get("rpo_seconds"),
            tuple(str(one) for one in data.get("problems", ())),
            data.get("host"),
        )
