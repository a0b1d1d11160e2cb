"""How far a running backup is, as sentences."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.dataclass import dataclass
from plainstack.postgresql.backup.catalogue import DONE, WAITING
from plainstack.wording import size

_ENDED = ("inactive", "failed")


@dataclass(frozen=True)
class Progress:
    """A running backup: `copied` bytes of about `total`, which is 0 if it is not known; `status` is Barman's."""

    ended: bool = False
    succeeded: bool = False
    id: str = ""
    status: str = ""
    copied: int = 0
    total: int = 0

    @property
    def percent(self) -> int | None:
        """How much is copied; the estimate leaves out what is outside the databases, so it ends at 99."""
        return min(99, 100 * self.copied // self.total) if self.total else None

    def sentence(self) -> str:
        """Return what the backup does now."""
        if self.status == DONE:
            return "usable; removing what earlier failures left"
        if self.status == WAITING:
            return f"{size(self.copied)} copied; waiting for the WAL that belongs to it"
        if self.status not in ("EMPTY", "STARTED") or not self.copied:
            return "preparing"
        if self.percent is None:
            return f"copying: {size(self.copied)}"
        return f"copying: {size(self.copied)} of about {size(self.total)} ({self.percent} %)"

    def milestone(self) -> tuple[str, int]:
        """Return a value that changes when a log should get a new line: in a new phase, or after another tenth."""
        return self.sentence().partition(":")[0].lstrip("0123456789. "), (self.percent or 0) // 10


def parse(text: str, before: str, total: int) -> Progress:
    """Return the progress that `look_script` printed; `before` is the ID of the newest backup when this one began."""
    facts: Mapping[str, str] = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    state, result = facts.get("state", ""), facts.get("result", "")
    # A unit that waits for another one to start, such as the receiver, is still inactive, and has a job.
    ended = state in _ENDED and facts.get("job", "0") in ("", "0")
    if facts.get("id", "") == before:
        return Progress(ended, ended and result == "success", total=total)
    return Progress(
        ended,
        ended and result == "success",
        facts.get("id", ""),
        facts.get("status", ""),
        int(facts.get("copied") or 0),
        total,
    )
