"""The notification that `inv restore` sends when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plainstack.cli.console import Console
from plainstack.cli.notify import tell
from plainstack.errors import HostFailed, PlainstackError

if TYPE_CHECKING:
    from plainstack.deploy.restore import Restoration
    from plainstack.inventory.stack import Stack


class Telling:
    """Sends the notification of a restore when it ends, even if it fails."""

    def __init__(self, console: Console, stack: Stack, restoration: Restoration, action: str, restore: str) -> None:
        self._console, self._stack, self._restoration = console, stack, restoration
        self._action, self._restore = action, restore

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        failures = {}
        if isinstance(error, HostFailed):
            failures = {error.host: error.reason}
        elif isinstance(error, PlainstackError):
            failures = {"-": str(error)}
        hosts = list(dict.fromkeys(done.step.host for done in self._restoration.log))
        tell(
            self._console,
            self._stack,
            self._action,
            self._restoration.began,
            hosts=hosts,
            failures=failures,
            interrupted=kind is KeyboardInterrupt,
            details={"restore": self._restore},
        )
