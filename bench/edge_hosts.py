"""The hosts of bench/edge.py: a balancer with a plain nginx beside it, and an application that serves 1 KB."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from plainstack.engine.role import shape
from plainstack.inventory import load as inventories
from plainstack.roles import registry
from plainstack.services.processes import served
from plainstack.ssh.connections import Sessions

ROOT = Path(__file__).resolve().parent.parent
ADDRESS, APP = "192.168.3.231", "192.168.57.14"
# The hash in its name lets the application say that it may be cached.
PAGE = "page-3f9ac0d1.txt"
PROXY, FILE = 8443, 8444
_UNIT = "bench-edge.service"

_PLAIN = """\
worker_processes auto;
pid /run/bench-edge.pid;
error_log /var/log/nginx/bench-edge.log;
events { worker_connections 16384; }
http {
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    gzip on;
    access_log LOG;
    TLS
    ssl_certificate /etc/plainstack/tls/site.crt;
    ssl_certificate_key /etc/plainstack/tls/site.key;
    upstream application { server APP; keepalive 32; }
    server {
        listen 8443 ssl;
        location / {
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
    server {
        listen 8444 ssl;
        root /srv/bench-edge;
    }
}
"""


@dataclass(frozen=True)
class Target:
    """A URL, and the unit of the nginx that answers."""

    url: str
    unit: str


class Hosts:
    """The hosts of a deployed lab, and programs on this machine that run in the lab's network."""

    def __init__(self, inventory: Path) -> None:
        self.stack = inventories.load(inventory, shape(registry()))
        self.sessions = Sessions(self.stack)
        self.port = served(self.stack)[0].port
        site = f"https://{ADDRESS}"
        self.targets = {
            "balancer": Target(f"{site}/{PAGE}", "nginx.service"),
            "plain nginx": Target(f"{site}:{PROXY}/{PAGE}", _UNIT),
            "balancer, cached": Target(f"{site}/kept/{PAGE}", "nginx.service"),
            "plain nginx, file": Target(f"{site}:{FILE}/{PAGE}", _UNIT),
        }

    def on(self, host: str, script: str) -> str:
        """Run a script on a host, and return its output."""
        done = self.sessions.to(host).script(script)
        if done.code != 0:
            raise SystemExit(f"{host}: {script}:\n{done.err}")
        return done.out

    def cpu(self, unit: str) -> float:
        """Return the CPU seconds that a unit of the balancer has used."""
        return int(self.on("lb1", f"systemctl show -p CPUUsageNSec --value {unit}")) / 1e9

    def run(self, *words: str) -> str:
        """Run a program in the lab's network, and return its output."""
        done = subprocess.run([*self._inside(), *words], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(words)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def times(self, which: str, rate: int, connections: int, seconds: int) -> list[float]:
        """Send requests at a rate through the balancer, or to the application itself; return the latencies in ms."""
        url = self.targets["balancer"].url if which == "balancer" else f"http://{APP}:{self.port}/{PAGE}"
        with tempfile.NamedTemporaryFile(mode="r", suffix=".log") as log:
            each = max(1, rate // connections)
            load = ["h2load", "--h1", "-t1", f"-c{connections}", f"--rps={each}", f"-D{seconds}"]
            self.run(*load, f"--log-file={log.name}", url)
            rows = [line.split("\t") for line in log]
        return [int(row[2]) / 1000 for row in rows if row[1] == "200"]

    def load(self, rate: int, seconds: int, output: TextIO) -> subprocess.Popen[str]:
        """Start to send requests at a rate on connections that stay open, as drills do.

        The process writes its messages to a file, and ends early if its stdin is closed.
        """
        asked = {
            "address": ADDRESS,
            "name": ADDRESS,
            "post": {},
            "authority": self.on("lb1", "cat /etc/plainstack/tls/ca.crt"),
            "path": f"/{PAGE}",
            "rate": rate,
            "seconds": seconds,
        }
        process = subprocess.Popen(
            [*self._inside(), sys.executable, "-m", "plainstack.drill.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        return process

    def _inside(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/plainstack-{self.stack.lab_name}"]


def inventory(folder: Path) -> Path:
    """Write an inventory and its files into a folder, and return its path; its lab is this checkout's own."""
    for place in (folder / "site", folder / "site/kept"):
        place.mkdir()
        (place / PAGE).write_bytes(b"x" * 1024)
    path = folder / "hosts.yaml"
    name = f"edge-{sha256(str(ROOT).encode()).hexdigest()[:8]}"
    path.write_text(
        f"""\
stack: edge
ssh: {{user: root, gateway: lab}}
lab: {{name: {name}}}
hosts:
  lb1: {{address: 192.168.57.16, public: {ADDRESS}, roles: [balancer]}}
  app1: {{address: {APP}, roles: [app]}}
services:
  web: {{kind: static, source: site, routes: [/, {{path: /kept/, cache: {{ttl: 1h}}}}]}}
""",
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def beside(inventory: Path, *, log: bool) -> Iterator[Hosts]:
    """Start the plain nginx on the balancer, with the TLS settings of the stack, and remove it at the end."""
    hosts = Hosts(inventory)
    with hosts.sessions:
        tls = hosts.on("lb1", "grep -h '^ssl_' /etc/nginx/conf.d/site.conf")
        text = _PLAIN.replace("TLS\n", tls).replace("APP", f"{APP}:{hosts.port}")
        text = text.replace("LOG", "/var/log/nginx/bench-edge-access.log" if log else "off")
        opening = f"INPUT -p tcp --dport {PROXY}:{FILE} -j ACCEPT"
        # The application itself answers only balancers. In a lab, the client may pass for one.
        app = f"INPUT -p tcp --dport {hosts.port} -j ACCEPT"
        hosts.on("app1", f"iptables -I {app}")
        hosts.on(
            "lb1",
            f"""set -e
cat >/etc/nginx/bench-edge.conf <<'END'
{text}END
mkdir -p /srv/bench-edge
head -c 1024 /dev/zero | tr '\\0' x >/srv/bench-edge/{PAGE}
iptables -I {opening}
systemd-run --quiet --unit={_UNIT} -p LimitNOFILE=65536 nginx -c /etc/nginx/bench-edge.conf -g 'daemon off;'
""",
        )
        try:
            yield hosts
        finally:
            hosts.on("app1", f"iptables -D {app}")
            hosts.on(
                "lb1",
                f"systemctl stop {_UNIT}; iptables -D {opening}; rm -r /etc/nginx/bench-edge.conf /srv/bench-edge",
            )
