"""Loopback ports on the operator's machine that lead to the stack's web pages over SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import paramiko

from plainstack import port_numbers as ports
from plainstack import site
from plainstack.errors import HostFailed, Refused
from plainstack.ssh import Sessions
from plainstack.stack import Stack

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Target:
    """A page: `via` are the hosts whose SSH connection may carry it; they see it at `address` and `port`.

    `known_as` is the name that it must be asked by; without one it answers to any.
    """

    name: str
    scheme: str
    via: tuple[str, ...]
    address: str
    port: int
    path: str = "/"
    preferred: int = 0
    known_as: str = ""

    def told(self, port: int) -> list[str]:
        """How a person reaches the page at `port` of this machine."""
        lines = [f"{self.name:<13} {self.scheme}://{self.known_as or LOOPBACK}:{port}{self.path}"]
        if self.known_as:
            ask = f"curl --connect-to ::{LOOPBACK}: {self.scheme}://{self.known_as}:{port}{self.path}"
            lines.append(f"{'':<13} {self.known_as} must lead here: write '{LOOPBACK} {self.known_as}' in /etc/hosts")
            lines.append(f"{'':<13} while you look, or type: {ask}")
        return lines


def targets(stack: Stack) -> list[Target]:
    """The site on the virtual address, Prometheus and Alertmanager; raises Refused when there is none of them."""
    found = []
    balancers = stack.with_role("balancer")
    if balancers:
        address = stack.balancer.virtual_address
        # Without an address that moves, what one balancer serves is seen from that one.
        carriers = balancers if address else balancers[:1]
        names = tuple(host.name for host in carriers)
        known_as = site.name(stack) if stack.balancer.server_names else ""
        there = str(address or carriers[0].address)
        found.append(Target("site", "https", names, there, 443, preferred=8443, known_as=known_as))
    for host in stack.with_role("monitoring")[:1]:
        for name, port, path in (
            ("Prometheus", ports.PROMETHEUS, "/classic/targets"),
            ("Alertmanager", ports.ALERTMANAGER, "/api/v2/alerts"),
        ):
            found.append(Target(name, "http", (host.name,), LOOPBACK, port, path, port))
    if not found:
        raise Refused("this stack has no web page: no host has the role balancer or monitoring")
    return found


class Way:
    """How a page is reached: through the first of its hosts that works, and that one is asked first from then on."""

    def __init__(self, sessions: Sessions, target: Target) -> None:
        self.target = target
        self._sessions = sessions
        self._hosts = target.via

    def open(self) -> paramiko.Channel:
        """A stream to the page. Raises Refused with what stands in the way on each host."""
        failures = []
        for host in self._hosts:
            try:
                channel = self._sessions.living(host).forward(self.target.address, self.target.port)
            except HostFailed as error:
                failures.append(str(error))
                continue
            self._hosts = (host, *(name for name in self.target.via if name != host))
            return channel
        raise Refused("; ".join(failures))


def serve(sessions: Sessions, wanted: list[Target], tell: Callable[[str], None]) -> None:
    """Listen for every target and carry connections until interrupted; raises Refused when no target is reached."""
    ways = [Way(sessions, target) for target in wanted]
    problems = [_problem(way) for way in ways]
    if all(problems):
        raise Refused("; ".join(sorted(set(problems))))
    with contextlib.ExitStack() as listeners:
        for way, problem in zip(ways, problems, strict=True):
            target = way.target
            listener = listeners.enter_context(_listen(target.preferred))
            threading.Thread(target=_accept, args=(listener, way, tell), daemon=True).start()
            first, *more = target.told(listener.getsockname()[1])
            for line in (first + (f"  (not now: {problem})" if problem else ""), *more):
                tell(line)
        tell("Ctrl-C ends the tunnels")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            tell("tunnels closed")


def _problem(way: Way) -> str:
    """Why a page is not reached now; nothing if it is."""
    try:
        way.open().close()
    except Refused as error:
        return str(error)
    return ""


def _listen(preferred: int) -> socket.socket:
    """The page's usual port, which links in alerts name, or any free one."""
    try:
        return socket.create_server((LOOPBACK, preferred))
    except OSError:
        return socket.create_server((LOOPBACK, 0))


def _accept(listener: socket.socket, way: Way, tell: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_carry, args=(client, way, tell), daemon=True).start()


def _carry(client: socket.socket, way: Way, tell: Callable[[str], None]) -> None:
    try:
        channel = way.open()
    except Refused as error:
        tell(f"{way.target.name}: {error}")
        client.close()
        return
    with client, channel:
        back = threading.Thread(target=_pump, args=(channel, client), daemon=True)
        back.start()
        _pump(client, channel)
        back.join()


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
