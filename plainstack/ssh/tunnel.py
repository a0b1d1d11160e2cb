"""Loopback ports on the operator's machine that lead to the stack's web pages over SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from itertools import product

import paramiko

from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import LOOPBACK, Target
from plainstack.ssh.connections import Sessions


def parse(stack: Stack, to: str, host: str = "", port: str = "") -> Target | None:
    """Return the target that the operator named, as HOST:PORT or with two options; None if no port was named.

    Raises Refused if the host or the port is invalid.
    """
    if not (to or host or port):
        return None
    if to:
        if host or port:
            raise Refused("name the port only once: inv tunnel HOST:PORT, or --host=HOST --port=PORT")
        host, _, port = to.rpartition(":")
    if host not in stack.hosts:
        raise Refused(f"{host or 'the host is missing'}: not a host of this stack. Its hosts: {', '.join(stack.hosts)}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Refused(f"{port or 'the port is missing'}: not a port (1 to 65535). For example: inv tunnel {host}:5432")
    number = int(port)
    # Programs listen on loopback, on the host's address, or on both.
    addresses = (LOOPBACK, str(stack.hosts[host].address))
    return Target(f"{host}:{port}", "", (host,), addresses, number, preferred=number if number >= 1024 else 0)


class Way:
    """The route to a target: its hosts are tried in turn, and the one that worked is tried first from then on."""

    def __init__(self, sessions: Sessions, target: Target) -> None:
        self.target = target
        self._sessions = sessions
        self._hosts = target.via

    def open(self) -> paramiko.Channel:
        """Open a stream to the target. Raises Refused, with the reason on each host, if none can reach it."""
        failures = []
        for host, address in product(self._hosts, self.target.addresses):
            try:
                channel = self._sessions.living(host).forward(address, self.target.port)
            except HostFailed as error:
                failures.append(str(error))
                continue
            self._hosts = (host, *(name for name in self.target.via if name != host))
            return channel
        raise Refused("; ".join(dict.fromkeys(failures)))


def serve(
    sessions: Sessions,
    wanted: list[Target],
    report: Callable[[str], None],
    closing: str = "",
    show: Callable[[str], bool] | None = None,
) -> None:
    """Listen on one local port per target and forward connections until interrupted.

    `closing` is printed below the targets; `show` opens a page in a browser and returns whether that worked. Raises
    Refused if no target can be reached.
    """
    ways = [Way(sessions, target) for target in wanted]
    problems = [_problem(way) for way in ways]
    if all(problems):
        raise Refused("; ".join(sorted(set(problems))))
    with contextlib.ExitStack() as listeners:
        reached: list[str] = []
        for way, problem in zip(ways, problems, strict=True):
            target = way.target
            listener = listeners.enter_context(_listen(target.preferred))
            threading.Thread(target=_accept, args=(listener, way, report), daemon=True).start()
            port = listener.getsockname()[1]
            first, *more = target.instructions(port)
            reached += target.urls(port)[:1] if not problem else []
            for line in (first + (f"  (not now: {problem})" if problem else ""), *more):
                report(line)
        if closing:
            report(closing)
        unshown = [url for url in reached if show and not show(url)]
        if unshown:
            report("there is no browser on this machine. Open the addresses above in a browser that can reach it")
        report("press Ctrl-C to close the tunnels")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            report("tunnels closed")


def _problem(way: Way) -> str:
    """Return why a target cannot be reached now; empty if it can."""
    try:
        way.open().close()
    except Refused as error:
        return str(error)
    return ""


def _listen(preferred: int) -> socket.socket:
    """Listen on the target's usual port, which the links in alerts use, or on any free port."""
    try:
        return socket.create_server((LOOPBACK, preferred))
    except OSError:
        return socket.create_server((LOOPBACK, 0))


def _accept(listener: socket.socket, way: Way, report: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_carry, args=(client, way, report), daemon=True).start()


def _carry(client: socket.socket, way: Way, report: Callable[[str], None]) -> None:
    try:
        channel = way.open()
    except Refused as error:
        report(f"{way.target.name}: {error}")
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
