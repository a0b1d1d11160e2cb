"""The frame around every exec: it marks where the command's output begins, and explains why a command never began.

The startup files of the login shell, sshrc and PAM print to the same two streams as the command. So the last shell
prints a marker line to both streams just before the command begins. What comes before the marker is not part of the
command's output.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.shell import PATH

# Endless output before the marker must not fill the operator's memory.
_KEPT = 65536

_OTHER_USER = re.compile(r'lease log ?in as the user "([^"\n]+)" rather than')
_EXPIRED = re.compile(
    r"password has expired|password change required|change your password|account or password is expired", re.IGNORECASE
)


@dataclass(frozen=True)
class Frame:
    """Wraps the commands of one connection; with `sudo`, they run as root through `sudo -n`."""

    user: str
    address: str
    sudo: bool
    token: str = field(default_factory=lambda: f"@plainstack-{secrets.token_hex(8)}")

    def wrap(self, command: str) -> str:
        """Return the command line for the login shell, in a form that every shell understands."""
        # The host's own PATH may lack /usr/sbin, and sudo may keep the user's PATH.
        begin = f'PATH={PATH}; export PATH; {_print_token(self.token)}; eval "$0"'
        if self.sudo:
            inner = f'/bin/sh -c {shlex.quote(begin)} "$0"'
            begin = f"PATH=$PATH:{PATH}; export PATH; {_print_token(self._reached)}; exec sudo -n -- {inner}"
        return f"exec /bin/sh -c {shlex.quote(begin)} {shlex.quote(command)}"

    def stream(self, *, terminal: bool = False) -> Stream:
        """Return a new Stream for one exec. A terminal carries both markers in one stream, with CRLF line ends."""
        return Stream(2 * _line(self.token).replace(b"\n", b"\r\n") if terminal else _line(self.token))

    def impediment(self, out: Stream, err: Stream) -> str:
        """Return why the command will never begin; empty if it has begun or may still begin."""
        if out.begun:
            return ""
        match = _OTHER_USER.search(out.noise + err.noise)
        if not match:
            return ""
        return (
            f"{match[1]} can log in on this host, but {self.user} cannot (the default of cloud-init). Write"
            f" `user: {match[1]}` under ssh in the inventory"
        )

    def refusal(self, out: Stream, err: Stream, code: int) -> tuple[str, list[str]]:
        """Return why the command never began, and the lines that the host printed instead."""
        reason = self.impediment(out, err)
        reached = _line(self._reached).decode()
        by_sudo = self.sudo and reached in out.noise
        said = (err.noise.rpartition(reached)[2] if by_sudo else out.noise + err.noise).strip()
        lines = [line.strip() for line in said.splitlines() if line.strip()][-10:]
        if reason:
            return reason, []
        if _EXPIRED.search(said):
            login = f"log in as {self.user} with ssh and set a new one, or run as root: chage -d -1 {self.user}"
            return (
                f"the password of {self.user} has expired. The host runs no commands until it is changed: {login}",
                lines,
            )
        if by_sudo:
            if code == 127:
                return "sudo is not installed on the host. Install it, or log in as root (ssh.user)", lines
            own = "; ".join(line for line in lines if "unable to resolve host" not in line) or f"exit code {code}"
            return f"sudo refused: {own}. Let {self.user} use sudo without a password (NOPASSWD)", []
        return f"the host did not run the command. To see why: ssh {self.user}@{self.address} true", lines

    @property
    def _reached(self) -> str:
        return f"{self.token}-sudo"


class Stream:
    """One stream of an exec: `data` is the command's output, `noise` is what came before the marker.

    Without a marker, everything is output.
    """

    def __init__(self, marker: bytes = b"") -> None:
        self._marker = marker
        self._before = bytearray()
        self.data = bytearray()
        self.begun = not marker

    def feed(self, data: bytes) -> None:
        """Add data that has arrived."""
        if self.begun:
            self.data += data
            return
        self._before += data
        head, found, rest = self._before.partition(self._marker)
        if found:
            self.begun = True
            self.data += rest
        self._before = head[-_KEPT:]

    def taken(self) -> bytes:
        """Return the command's output since the last call, and drop it."""
        data = bytes(self.data)
        self.data.clear()
        return data

    @property
    def noise(self) -> str:
        """The text before the marker."""
        return self._before.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """The command's output."""
        return self.data.decode(errors="replace")


def _line(token: str) -> bytes:
    return f"\n{token}\n".encode()


def _print_token(token: str) -> str:
    # The newline in front makes the marker a line of its own even if the noise does not end in one; with `set -x`, the
    # marker also shows up inside a trace line, which does not count.
    return f'printf "\\n%s\\n" {token}; printf "\\n%s\\n" {token} >&2'
