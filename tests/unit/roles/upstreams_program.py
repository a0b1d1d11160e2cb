"""The program that decides which application hosts a balancer uses, with stand-ins for other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plainstack import shipped
from tests.waiting import PATIENCE

PROGRAM = shipped.FILES / "balancer/etc/plainstack/balancer/upstreams"
PAGES = shipped.FILES / "balancer/usr/local/lib/plainstack/health_pages.py"
SERVICES = {"web": ("app1", "app2", "app3"), "api": ("app1", "app2")}
ADDRESSES = {"app1": "192.0.2.1", "app2": "192.0.2.2", "app3": "192.0.2.3"}
PORTS = {"web": 8000, "api": 8001}
TARGETS = [(service, host, f"{ADDRESSES[host]}:{PORTS[service]}") for service in SERVICES for host in SERVICES[service]]

# The engine responds with the serial with which it was loaded last.
CURL = """#!/bin/sh
for url; do :; done
case $url in
*/upstreams) cat "$ROOT/loaded" 2>/dev/null ;;
*) exit 1 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
case $1 in
is-active) [ ! -e "$ROOT/stopped" ] ;;
reload)
    echo "$2" >>"$ROOT/reloads"
    if [ -e "$ROOT/broken" ]; then rm "$ROOT/broken"; exit 1; fi
    sed -n 's/^return 200 "\\(.*\\)\\\\n";$/\\1/p' "$ROOT/run/plainstack/upstreams/serial.conf" >"$ROOT/loaded"
    ;;
esac
"""
SLEEP = "#!/bin/sh\nexec /bin/sleep 0.05\n"
METRICS = "var/lib/prometheus/node-exporter/plainstack_upstreams.prom"
SS = '#!/bin/sh\ncat "$ROOT/connections" 2>/dev/null\n: >"$ROOT/connections"\n'


@dataclass
class Balancer:
    """The root folder of a balancer on which the program runs."""

    root: Path
    targets: Sequence[tuple[str, str, str]] = tuple(TARGETS)

    @classmethod
    def new(cls, root: Path, targets: Sequence[tuple[str, str, str]] = tuple(TARGETS)) -> Balancer:
        """Make a balancer on which nothing has run yet, with these hosts of services."""
        for folder in ("bin", "etc/plainstack/balancer", "proc/net", "usr/local/lib", str(Path(METRICS).parent)):
            (root / folder).mkdir(parents=True)
        for name, text in (("curl", CURL), ("systemctl", SYSTEMCTL), ("sleep", SLEEP), ("ss", SS)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        lines = "\n".join(
            f"{service} {host} {address} /healthz [!5]??,507 www.example.com 0.5 0.05"
            for service, host, address in targets
        )
        settings_file = f"ENGINE=nginx\nFOLDER=/etc/nginx\nTARGETS='{lines}'\n"
        (root / "etc/plainstack/balancer/upstreams.conf").write_text(settings_file)
        (root / "etc/plainstack/balancer/upstreams").symlink_to(PROGRAM)
        (root / "usr/local/lib/plainstack").mkdir()
        pages = root / "usr/local/lib/plainstack" / PAGES.name
        shutil.copy(PAGES, pages)
        pages.chmod(0o755)
        return cls(root, targets)

    @property
    def environment(self) -> dict[str, str]:
        return {"ROOT": str(self.root), "PATH": f"{self.root}/bin:{os.defpath}", "LC_ALL": "C"}

    @property
    def state(self) -> Path:
        return self.root / "run/plainstack/upstreams"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the program with these arguments."""
        return subprocess.run(
            ["sh", str(PROGRAM), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def used(self) -> dict[str, set[str]]:
        """Return the hosts of each service that the engine's files do not mark as down."""
        up: dict[str, set[str]] = {service: set() for service in SERVICES}
        for service, host, address in self.targets:
            line = (self.state / f"{address}.conf").read_text()
            assert line in (f"server {address} max_fails=0;\n", f"server {address} max_fails=0 down;\n")
            if "down" not in line:
                up[service].add(host)
        return up

    def reloads(self) -> int:
        """Return how often the engine was reloaded."""
        log = self.root / "reloads"
        return len(log.read_text().splitlines()) if log.exists() else 0


def everything() -> dict[str, set[str]]:
    return {service: set(hosts) for service, hosts in SERVICES.items()}


def without(*gone: str) -> dict[str, set[str]]:
    return {service: set(hosts) - set(gone) for service, hosts in SERVICES.items()}
