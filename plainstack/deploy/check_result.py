"""The result of a check."""

from __future__ import annotations

from plainstack.dataclass import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The result of one check on one host; `why` says why it failed.

    A file of checks that cannot be read counts as a failed check of the host "-".
    """

    host: str
    role: str
    name: str
    passed: bool
    seconds: float
    why: str = ""

    @property
    def promise(self) -> str:
        """The check's name as words."""
        if not self.name.startswith("test_"):
            return self.name
        words, bracket, parameters = self.name.removeprefix("test_").partition("[")
        return f"{words.replace('_', ' ')} {bracket}{parameters}".rstrip()
