"""The errors that reach the user; each message says what happened and what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class PlainstackError(Exception):
    """Base of every error that ends a command with a message instead of a traceback."""


class InventoryError(PlainstackError):
    """The inventory, a template or a file it names is wrong; raised before any connection is opened."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Refused(PlainstackError):
    """The request was understood but not carried out; the message gives the reason and what to type instead."""


class AlreadySo(Refused):
    """The requested state already holds: nothing was done, and nothing failed."""


class NotDeployed(Refused):
    """Hosts lack files that a deploy installs, and must be deployed first."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        what = "has not been deployed, or was reinstalled since" if len(hosts) == 1 else "have not been deployed"
        super().__init__(f"{' and '.join(hosts)} {what}: inv deploy --host={','.join(hosts)}")


class HostFailed(PlainstackError):
    """A host could not be reached, or a step on it failed; the results of other hosts are kept."""

    def __init__(self, host: str, step: str, reason: str, tail: Sequence[str] = (), code: int | None = None) -> None:
        self.host, self.step, self.reason, self.tail, self.code = host, step, reason, tuple(tail), code
        shown = f"{host}: {step}: {reason}" if step else f"{host}: {reason}"
        if code is not None:
            shown += f" (exit code {code})"
        super().__init__("\n".join([shown, *(f"    {line}" for line in self.tail)]))


class Untouched(HostFailed):
    """A host was left as it was, because its change could not begin."""
