"""The command and everything it has started: a control group of its own, which the kernel kills as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# As the unit has it: DelegateSubgroup=supervisor.
OWN = "supervisor"


class NotDelegated(Exception):
    """The unit lets this program have no control group for the command."""


def group(membership: str, root: Path = CGROUPS) -> Path:
    """The command's control group, from the text of /proc/self/cgroup. Raises NotDelegated."""
    own = membership.rpartition("::")[2].strip()
    if not own.endswith(f"/{OWN}"):
        raise NotDelegated(f"its unit needs Delegate=yes and DelegateSubgroup={OWN} (it runs in {own or 'no cgroup'})")
    return root / own.removesuffix(OWN).strip("/") / "command"


class Command:
    """The command, in its group; `code` is how it ended, None before that."""

    def __init__(self, words: Sequence[str], place: Path) -> None:
        self._words = words
        self._group = place
        self._pid = 0
        self.code: int | None = None
        try:
            place.mkdir(exist_ok=True)
        except OSError as error:
            raise NotDelegated(f"its unit needs Delegate=yes: {error}") from error

    @property
    def alive(self) -> bool:
        """Whether any process of the group is left."""
        return bool(self._pid) or "populated 1" in (self._group / "cgroup.events").read_text()

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the command in the empty group; it does not wait until the command runs."""
        self.code = None
        self._pid = os.fork()
        if self._pid == 0:
            self._become(environment)

    def _become(self, environment: Mapping[str, str]) -> None:
        """Turn this new process into the command."""
        try:
            # It may be killed by its number at any time, and once it is in the group with all its children.
            (self._group / "cgroup.procs").write_text("0")
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            # What systemd said to the supervisor is not for the command.
            left_out = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
            kept = {key: value for key, value in os.environ.items() if key not in left_out}
            os.execvpe(self._words[0], list(self._words), {**kept, **environment})  # noqa: S606 - no shell is what we want
        except BaseException as error:  # noqa: BLE001 - it must never return into the guard's code
            os.write(2, f"{self._words[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def reap(self) -> bool:
        """Whether the command itself has ended since the last look; what it leaves behind in its group is killed."""
        if not self._pid:
            return False
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return False
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        self.code = code if code >= 0 else 128 - code
        self.kill()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command itself."""
        if self._pid:
            os.kill(self._pid, number)

    def kill(self) -> None:
        """Kill every process of the group, whatever session it is in."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            (self._group / "cgroup.kill").write_text("1")
