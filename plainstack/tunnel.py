"""Loopback ports on the operator's machine that lead to the stack's web pages over SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import paramiko

from plainstack.errors import HostFailed, Refused
from plainstack.ssh import Sessions
from plainstack.stack import Stack


@dataclass(frozen=True)
class Target:
    """A page: `via` is the host whose SSH connection carries it, `address` and `port` where it is seen from there."""

    name: str
    scheme: str
    via: str
    address: str
    port: int
    path: str = "/"
    preferred: int = 0


def targets(stack: Stack) -> list[Target]:
    """The site on the virtual address, Prometheus and Alertmanager; raises Refused when there is none of them."""
    found = []
    balancers = stack.with_role("balancer")
    if balancers:
        address = stack.balancer.virtual_address or balancers[0].address
        found.append(Target("site", "https", balancers[0].name, str(address), 443, preferred=8443))
    for host in stack.with_role("monitoring")[:1]:
        found.append(Target("Prometheus", "http", host.name, "127.0.0.1", 9090, "/classic/targets", 9090))
        found.append(Target("Alertmanager", "http", host.name, "127.0.0.1", 9093, "/api/v2/alerts", 9093))
    if not found:
        raise Refused("this stack has no web page: no host has the role balancer or monitoring")
    return found


def serve(sessions: Sessions, wanted: list[Target], tell: Callable[[str], None]) -> None:
    """Listen for every target and carry connections until interrupted."""
    listeners = []
    for target in wanted:
        sessions.to(target.via)
        listener = _listen(target.preferred)
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, sessions, target, tell), daemon=True).start()
        tell(f"{target.name:<13} {target.scheme}://127.0.0.1:{listener.getsockname()[1]}{target.path}")
    tell("Ctrl-C ends the tunnels")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        tell("tunnels closed")
    finally:
        for listener in listeners:
            listener.close()


def _listen(preferred: int) -> socket.socket:
    """The page's usual port, which links in alerts name, or any free one."""
    try:
        return socket.create_server(("127.0.0.1", preferred))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def _accept(listener: socket.socket, sessions: Sessions, target: Target, tell: Callable[[str], None]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            channel = sessions.to(target.via).forward(target.address, target.port)
        except (HostFailed, OSError, paramiko.SSHException) as error:
            tell(f"{target.name}: {error}")
            client.close()
            continue
        for source, sink in ((client, channel), (channel, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
