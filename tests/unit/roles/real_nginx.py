"""A balancer's nginx on this machine: with the files that it has on a host, at free ports and below a folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from plainstack.addresses import endpoint
from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.secrets.values import Certificate, Secret, Vault
from plainstack.services.processes import served
from tests import inventories
from tests.lab.standin_app import GO, HELD, Handler, Server
from tests.ports import free_port
from tests.waiting import until

PLACES = r"/(etc/plainstack|(run|usr/local/share)/plainstack|var/lib/(plainstack-|nginx/)|var/log/nginx|run/nginx)"


@dataclass
class Edge:
    """The running nginx: its ports for HTTPS and HTTP, its folder, and the applications behind it."""

    folder: Path
    port: int
    plain: int
    applications: list[Server] = field(default_factory=list)

    def curl(self, url: str, *options: str) -> tuple[str, str, str]:
        """Return the status, the headers in lower case, and the body of the response to a request for https://NAME/PATH."""
        name = re.sub(r"^https?://([^/]+).*", r"\1", url)
        to = self.plain if url.startswith("http:") else self.port
        ran = subprocess.run(
            ["curl", "-sik", "-m", "60", "--connect-to", f"{name}::127.0.0.1:{to}", *options, url],
            capture_output=True,
            check=False,
        )
        head, _, body = ran.stdout.decode().partition("\r\n\r\n")
        return head.partition(" ")[2][:3], head.lower(), body

    def status(self, url: str, *options: str) -> str:
        """Return the status of the response to a request."""
        return self.curl(url, *options)[0]

    @contextlib.contextmanager
    def holding(self, url: str, count: int, *options: str) -> Iterator[list[Future[str]]]:
        """Keep requests in progress until the `with` block ends; then they have their statuses."""
        GO.clear()
        with ThreadPoolExecutor(count) as pool:
            try:
                held = [pool.submit(self.status, f"{url}held", *options) for _ in range(count)]
                until(lambda: len(HELD) == count, "the application has not got the requests")
                yield held
            finally:
                GO.set()

    def reload(self) -> None:
        """Let nginx read its configuration again; return when no worker uses the previous one."""
        before = set(self._workers())
        self.ask_to_reload()
        until(lambda: self._workers() and not before & set(self._workers()), "nginx has new workers")

    def ask_to_reload(self) -> None:
        """Send nginx the signal to read its configuration again, and do not wait."""
        os.kill(int((self.folder / "run/nginx.pid").read_text()), signal.SIGHUP)

    def settle(self) -> None:
        """Return when only one worker is left: after a reload, those from before it also answer for a moment."""

        def answer(pid: str) -> bool:
            with contextlib.suppress(OSError):
                return "worker process" in Path(f"/proc/{pid}/cmdline").read_text()
            return False

        until(lambda: sum(map(answer, self._workers())) == 1, "nginx has no worker from before the reload")

    def _workers(self) -> list[str]:
        master = (self.folder / "run/nginx.pid").read_text().strip()
        return Path(f"/proc/{master}/task/{master}/children").read_text().split()

    @contextlib.contextmanager
    def connected(self) -> Iterator[ssl.SSLSocket]:
        """Connect over TLS."""
        context = ssl._create_unverified_context()
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            context.wrap_socket(plain, server_hostname="shop.example") as secure,
        ):
            yield secure

    def says(self, text: bytes) -> str:
        """Send raw bytes over TLS, and return all that comes back."""
        with self.connected() as secure:
            secure.sendall(text)
            return b"".join(iter(lambda: secure.recv(65536), b"")).decode(errors="replace")


def certificate(folder: Path) -> Certificate:
    """Make a certificate for a site."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "chain"), "-subj", "/CN=shop.example"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    return Certificate((folder / "chain").read_text(), Secret("site.key", (folder / "key").read_text()))


@contextlib.contextmanager
def running(stack: Stack, folder: Path, passwords: Mapping[str, str] = MappingProxyType({})) -> Iterator[Edge]:
    """Run nginx as on the first balancer. On this machine, a stand-in answers for every host of every service.

    Its responses have the names of service and host in the headers X-Service and X-Host.
    """
    edge = placed(stack, folder, passwords)
    with contextlib.ExitStack() as running:
        _applications(stack, edge, running)
        yield from _nginx(edge)


def placed(stack: Stack, folder: Path, passwords: Mapping[str, str] = MappingProxyType({})) -> Edge:
    """Create the files of the first balancer, for nginx on this machine, which is not started."""
    folder.mkdir(exist_ok=True)
    edge = Edge(folder, free_port(), free_port())
    vault = Vault(
        {name: Secret(name, value) for name, value in passwords.items()}, {"site": certificate(folder)}, "authority\n"
    )
    for file in inventories.wanted(balancer.ROLE, stack, stack.with_role("balancer")[0].name, vault):
        if isinstance(file, File):
            _put(edge, file)
    for name in ("var/log/nginx", "var/lib/plainstack-maintenance", "var/lib/nginx"):
        (folder / name).mkdir(parents=True)
    for name in ("upstreams", "acme"):
        program = edge.folder / "etc/plainstack/balancer" / name
        if program.exists():
            subprocess.run([program, "prepare"], env={**os.environ, "ROOT": str(edge.folder)}, check=True)
    return edge


def said_by_nginx(edge: Edge) -> str:
    """Let nginx check its configuration, and return its errors and warnings."""
    command = [*_command(edge), "-t", "-q"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.replace(str(edge.folder), "")


def _put(edge: Edge, file: File) -> None:
    path = edge.folder / file.path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = file.content.decode(errors="surrogateescape")
    if "/etc/nginx/" in file.path:
        # Debian's nginx of an earlier release, which may be the one here, lacks these.
        text = re.sub(r"^ *(http2 on|listen \S+ quic.*);\n", "", text, flags=re.M)
        text = re.sub(r"listen 443 ", f"listen 127.0.0.1:{edge.port} ", text)
        text = re.sub(r"listen 80\b", f"listen 127.0.0.1:{edge.plain}", text)
        text = re.sub(r"listen 127\.0\.0\.1:8081", f"listen 127.0.0.1:{free_port()}", text)
        # One worker: it puts a response into the cache, or releases a limit, before it accepts the next connection.
        text = re.sub(r"^worker_processes .*", "worker_processes 1;", text, flags=re.M)
        text = re.sub(r"^user .*", f"user {getpass.getuser()};", text, flags=re.M)
        text = re.sub(rf"{PLACES}", lambda found: f"{edge.folder}{found[0]}", text)
        text = re.sub("/etc/nginx/(?=conf.d/|stack/|cache/)", f"{edge.folder}/etc/nginx/", text)
        kinds = "".join(f"    {kind}_temp_path {edge.folder}/{kind};\n" for kind in ("client_body", "proxy"))
        text = text.replace("    sendfile on;\n", f"    sendfile on;\n{kinds}")
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(file.mode)


def _applications(stack: Stack, edge: Edge, running: contextlib.ExitStack) -> None:
    for service in served(stack):
        for host in service.hosts:
            handler = type("Named", (Handler,), {"service": service.name, "host": host.name})
            application = running.enter_context(Server(("127.0.0.1", 0), handler))
            application.daemon_threads = True
            application.block_on_close = False
            threading.Thread(target=application.serve_forever, daemon=True).start()
            running.callback(application.shutdown)
            edge.applications.append(application)
            known = edge.folder / f"run/plainstack/upstreams/{host.address}:{service.port}.conf"
            local = f"127.0.0.1:{application.server_address[1]}"
            known.write_text(known.read_text().replace(endpoint(host.address, service.port), local))


def _command(edge: Edge) -> list[str]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "install nginx"
    return [nginx, "-e", str(edge.folder / "error"), "-c", str(edge.folder / "etc/nginx/nginx.conf")]


def _nginx(edge: Edge) -> Iterator[Edge]:
    command = [*_command(edge), "-g", "daemon off;"]
    with (edge.folder / "said").open("w") as said, subprocess.Popen(command, stderr=said) as process:
        try:
            until(lambda: process.poll() is not None or _open(edge.port), "nginx")
            assert process.poll() is None, (edge.folder / "said").read_text()
            yield edge
        finally:
            process.terminate()


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
