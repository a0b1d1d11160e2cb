"""The command and all its children, in a control group of their own that the kernel can kill as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# The subgroup in which systemd starts this program; the unit sets DelegateSubgroup=supervisor.
OWN = "supervisor"


class NotDelegated(Exception):
    """The unit does not allow this program to create a control group for the command."""


def group(membership: str, root: Path = CGROUPS) -> Path:
    """Return the path of the command's control group, from the text of /proc/self/cgroup. Raises NotDelegated."""
    own = membership.rpartition("::")[2].strip()
    if not own.endswith(f"/{OWN}"):
        raise NotDelegated(f"its unit needs Delegate=yes and DelegateSubgroup={OWN} (it runs in {own or 'no cgroup'})")
    return root / own.removesuffix(OWN).strip("/") / "command"


class Command:
    """The command in its control group; `code` is its exit code (128 + N after signal N), None until it has ended."""

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
        """Start the command in the empty group, without waiting until it runs."""
        self.code = None
        self._pid = os.fork()
        if self._pid == 0:
            self._become(environment)

    def _become(self, environment: Mapping[str, str]) -> None:
        """Turn this new process into the command."""
        try:
            # Until this process has joined the group, `kill` kills it by its PID; afterwards, with its children.
            (self._group / "cgroup.procs").write_text("0")
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            # With these variables, the command could send systemd messages in the supervisor's name.
            left_out = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
            kept = {key: value for key, value in os.environ.items() if key not in left_out}
            os.execvpe(self._words[0], list(self._words), {**kept, **environment})  # noqa: S606 - it must not run in a shell
        except BaseException as error:  # noqa: BLE001 - it must never return into the guard's code
            os.write(2, f"{self._words[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def reap(self) -> bool:
        """Return whether the command itself has ended since the last call; if so, kill the rest of its group."""
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
