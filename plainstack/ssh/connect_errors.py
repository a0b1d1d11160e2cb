"""Messages for connection errors: what happened, and what to do."""

from __future__ import annotations

import errno
import socket

import paramiko

from plainstack.ssh.login_keys import LoginRefused
from plainstack.ssh.reach import Reach
from plainstack.ssh.ways import Way

# Seconds for banner, key exchange and login after a host has accepted the connection. A busy host with many logins at
# once is slow.
HANDSHAKE_WITHIN = 15

BROKEN = (OSError, EOFError, paramiko.SSHException)
"""The exceptions that opening a connection may raise."""

_FORBIDDEN, _NOT_CONNECTED = 1, 2


class JumpFailed(OSError):
    """A jump host on the way to a host could not be used; the message is complete and is shown unchanged."""


def explain(error: BaseException, way: Way, stack: Reach) -> str:
    """Return the message for a connection error."""
    if isinstance(error, JumpFailed):
        return str(error)
    # Messages about a jump host already start with its name.
    place = "" if way.source else f" ({way.address}:{way.port})"
    if isinstance(error, paramiko.BadHostKeyException):
        return (
            f"the host key has CHANGED{place}: pinned {fingerprint(error.expected_key)}, offered"
            f" {fingerprint(error.key)}. Nothing was sent. If the host was reinstalled: inv trust"
        )
    if isinstance(error, LoginRefused):
        return f"{error}{place}"
    if "not found in known_hosts" in str(error):
        return f"the host key is not pinned{place}. Run inv trust, compare the fingerprint, and try again"
    if isinstance(error, paramiko.ChannelException) and way.jump is not None:
        reason = {
            _FORBIDDEN: "does not forward connections (AllowTcpForwarding)",
            _NOT_CONNECTED: "cannot connect to it",
        }
        return f"{way.jump.called} {reason.get(error.code, f'refused: {error.text}')}{place}"
    if str(error) == "No existing session":
        return (
            f"no SSH handshake within {HANDSHAKE_WITHIN} s{place}: is sshd listening there, and is the host overloaded?"
        )
    if isinstance(error, socket.gaierror):
        return f"the name {way.address} does not resolve{place}"
    if isinstance(error, TimeoutError):
        return f"no answer within {stack.ssh.connect_timeout} s{place}"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no route to the host{place}: is it up, and on this network?"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL and way.bind:
        return f"BindAddress {way.bind} is not an address of this machine{place}"
    if isinstance(error, ConnectionRefusedError):
        return f"the connection was refused{place}: is sshd running?"
    if way.command:
        return f"no SSH through the proxy command `{way.command}`{place}: {error or type(error).__name__}"
    return f"{error or type(error).__name__}{place}"


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH prints it."""
    return f"{key.get_name()} {key.fingerprint}"
