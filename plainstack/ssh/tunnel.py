"""Loopback ports on the operator's machine that lead to the stack's web pages over SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import paramiko

from plainstack.errors import HostFailed, Refused
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.stack import Stack
from plainstack.services import site
from plainstack.services.edge import Balancer
from plainstack.ssh.connections import Sessions

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Page:
    """Something to look at behind a target, and what it shows in one sentence."""

    path: str
    shows: str


@dataclass(frozen=True)
class Target:
    """A port: `via` are the hosts whose SSH connection may carry it; they see it at one of `addresses`.

    `known_as` is the name that it must be asked by; without one it answers to any. Without pages, it is for
    other programs than browsers.
    """

    name: str
    scheme: str
    via: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    pages: tuple[Page, ...] = ()
    preferred: int = 0
    known_as: str = ""

    def urls(self, port: int) -> list[str]:
        """Its pages' addresses when `port` of this machine leads to it."""
        return [f"{self.scheme}://{self.known_as or LOOPBACK}:{port}{page.path}" for page in self.pages]

    def told(self, port: int) -> list[str]:
        """How a person reaches it at `port` of this machine."""
        if not self.pages:
            return [f"{self.name:<13} {LOOPBACK}:{port}"]
        urls = self.urls(port)
        width = max(len(url) for url in urls)
        names = (self.name, *[""] * len(urls))
        lines = [
            f"{name:<13} {url:<{width}}  {page.shows}" for name, url, page in zip(names, urls, self.pages, strict=False)
        ]
        if self.known_as:
            lines.append(f"{'':<13} {self.known_as} must lead here: write '{LOOPBACK} {self.known_as}' in /etc/hosts")
            lines.append(f"{'':<13} while you look, or type: curl --connect-to ::{LOOPBACK}: {urls[0]}")
        return lines


def targets(stack: Stack) -> list[Target]:
    """The site on the virtual address and Prometheus; raises Refused when there is neither."""
    found = []
    balancers = stack.with_role("balancer")
    if balancers:
        address = stack.settings(Balancer).virtual_address
        # Without an address that moves, what one balancer serves is seen from that one.
        carriers = balancers if address else balancers[:1]
        names = tuple(host.name for host in carriers)
        known_as = site.name(stack) if stack.settings(Balancer).server_names else ""
        there = (str(address or carriers[0].address),)
        front = (Page("/", "the site, as a visitor sees it"),)
        found.append(Target("site", "https", names, there, ports.HTTPS, front, 8443, known_as))
    pages = (
        Page("/classic/alerts", "every alert: whether it fires, and since when"),
        Page("/classic/targets", "every exporter on every host: whether it answers"),
        Page("/classic/graph", "any metric, by query"),
    )
    for host in stack.with_role("monitoring")[:1]:
        found.append(Target("Prometheus", "http", (host.name,), (LOOPBACK,), ports.PROMETHEUS, pages, ports.PROMETHEUS))
    if not found:
        raise Refused(
            "this stack has no web page: no host has the role balancer or monitoring;"
            " any other port is reached by its host: inv tunnel HOST:PORT"
        )
    return found


def others(stack: Stack) -> str:
    """What else can be reached, as a line to print."""
    known = (("db", ports.POSTGRESQL), ("monitoring", ports.ALERTMANAGER), ("balancer", ports.PROXY_STATUS))
    examples = [f"{host.name}:{port}" for role, port in known for host in stack.with_role(role)[:1]]
    examples += [
        f"{host.name}:{service.port}" for service in stack.services.values() for host in stack.with_role("app")[:1]
    ]
    return f"any other port: inv tunnel HOST:PORT ({', '.join(examples[:4])})" if examples else ""


def parse(stack: Stack, to: str, host: str = "", port: str = "") -> Target | None:
    """The port of a host that a person named, as HOST:PORT or in two words; None if they named none.

    Raises Refused.
    """
    if not (to or host or port):
        return None
    if to:
        if host or port:
            raise Refused("name the port once: inv tunnel HOST:PORT, or --host=HOST --port=PORT")
        host, _, port = to.rpartition(":")
    if host not in stack.hosts:
        raise Refused(f"{host or 'the host is missing'}: no host of this stack; there are {', '.join(stack.hosts)}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Refused(f"{port or 'the port is missing'}: not a port (1 to 65535); type inv tunnel {host}:5432")
    number = int(port)
    # Programs listen on loopback, on the host's address, or on both.
    addresses = (LOOPBACK, str(stack.hosts[host].address))
    return Target(f"{host}:{port}", "", (host,), addresses, number, preferred=number if number >= 1024 else 0)


class Way:
    """How a page is reached: through the first of its hosts that works, and that one is asked first from then on."""

    def __init__(self, sessions: Sessions, target: Target) -> None:
        self.target = target
        self._sessions = sessions
        self._hosts = target.via

    def open(self) -> paramiko.Channel:
        """A stream to the page. Raises Refused with what stands in the way on each host."""
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
    tell: Callable[[str], None],
    closing: str = "",
    show: Callable[[str], bool] | None = None,
) -> None:
    """Listen for every target and carry connections until interrupted; raises Refused when no target is reached.

    `closing` is printed below the targets; `show` opens a page in a browser and says whether it could.
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
            threading.Thread(target=_accept, args=(listener, way, tell), daemon=True).start()
            port = listener.getsockname()[1]
            first, *more = target.told(port)
            reached += target.urls(port)[:1] if not problem else []
            for line in (first + (f"  (not now: {problem})" if problem else ""), *more):
                tell(line)
        if closing:
            tell(closing)
        unshown = [url for url in reached if show and not show(url)]
        if unshown:
            tell("there is no browser on this machine; open the addresses above in one that reaches it")
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
