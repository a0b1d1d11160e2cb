"""What visitors of two application hosts notice of releases and restarts: nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.labs import lab
from tests.lab.operator import ROOT, Operator
from tests.waiting import PATIENCE

SOURCES = Path(__file__).parent / "serving"
ADDRESS, NAME = "192.168.67.16", "shop.example"
COUNTED = {"/": "/var/lib/app-web/media/counted", "/api/": "/var/lib/app-api/media/counted"}
# The rate in requests per second, for each of the two services, and the duration in seconds.
RATE, SECONDS = 100, 45


def inventory(sources: Path) -> dict[str, Any]:
    """Return the inventory: Gunicorn serves `web`, and uvicorn `api`."""
    command = "uvicorn api:app --host ${host.address} --port ${port} --timeout-keep-alive 60"
    database = {"DB_HOSTS": "hosts", "DB_NAME": "name", "DB_USER": "user", "DB_PASSWORD": "password", "DB_CA": "ca"}
    return {
        "stack": "serving",
        "ssh": {"user": "root", "gateway": "lab"},
        "hosts": {
            "lb1": {"address": "192.168.66.16", "public": ADDRESS, "roles": ["balancer", "db"]},
            "app1": {"address": "192.168.66.14", "roles": ["app"]},
            "app2": {"address": "192.168.66.15", "roles": ["app"]},
        },
        "balancer": {"server_names": [NAME]},
        "services": {
            "web": {
                "source": str(sources / "site"),
                "project": "shop",
                "env": {
                    "ALLOWED_HOSTS": "${site.names}",
                    **{variable: f"${{database.{key}}}" for variable, key in database.items()},
                },
                "secrets": {"SECRET_KEY": {"generate": 50}},
                "writable": ["media"],
            },
            "api": {
                "kind": "python",
                "source": str(sources / "api"),
                "path": "/api/",
                "writable": ["media"],
                "processes": {"web": {"command": command, "port": 8010, "health": "/"}},
            },
        },
        "database": {"name": "shop"},
    }


@pytest.fixture(scope="module")
def serving(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Deploy a balancer and two hosts with two services, from sources that the tests may change."""
    sources = tmp_path_factory.mktemp("serving") / "sources"
    shutil.copytree(SOURCES, sources)
    shutil.copy(ROOT / "apps/incidents/requirements.txt", sources / "site")
    with lab("serving", yaml.safe_dump(inventory(sources), sort_keys=False), project) as operator:
        operator.inv("lab.up", timeout=900)
        operator.inv("deploy", timeout=1200)
        yield operator


def change(serving: Operator, service: str, **values: Any) -> None:
    """Replace keys of a service in the inventory."""
    data = yaml.safe_load(serving.inventory.read_text(encoding="utf-8"))
    data["services"][service] |= values
    serving.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def source(serving: Operator, service: str) -> Path:
    data = yaml.safe_load(serving.inventory.read_text(encoding="utf-8"))
    return Path(data["services"][service]["source"])


class Visitors:
    """Clients with kept-alive connections, of whose requests a third are POSTs to `count` below the path."""

    def __init__(self, serving: Operator, path: str, output: Path) -> None:
        self.path, self._output = path, output
        # A pipe that nobody reads would fill up and stop the clients.
        with output.open("w") as file:
            self._process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/plainstack-{serving.lab}",
                    sys.executable,
                    "-m",
                    "plainstack.drill.load",
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                text=True,
            )
        asked = {
            "address": ADDRESS,
            "name": NAME,
            "authority": serving.on("lb1", "cat /etc/plainstack/tls/ca.crt"),
            "path": path,
            "rate": RATE,
            "seconds": SECONDS,
            "post": {"post_path": f"{path}count", "body": "${key}", "headers": {}, "prefix": "visit-"},
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def outcomes(self) -> tuple[Counter[str], set[str]]:
        """Return a count of the outcomes at the end, and the bodies of all POSTs."""
        self._process.wait(PATIENCE)
        messages = [json.loads(line) for line in self._output.read_text(encoding="utf-8").splitlines()]
        kinds = {message[2]: message[1] for message in messages if message[0] == "begin"}
        seen = Counter(message[4] for message in messages if message[0] == "end")
        seen["not sent"] = sum(message[0] == "skip" for message in messages)
        seen["unanswered"] = len(kinds) - sum(message[0] == "end" for message in messages)
        return +seen, {f"visit-{key}" for key, kind in kinds.items() if kind == "post"}


def test_no_request_fails_during_a_release_or_a_restart(serving: Operator, tmp_path: Path) -> None:
    """Gunicorn keeps idle connections open for a moment when it stops, and uvicorn closes them at once."""
    visitors = [Visitors(serving, path, tmp_path / str(number)) for number, path in enumerate(COUNTED)]
    done = 0
    while not any(each.over for each in visitors):
        if done % 2 == 0:
            (source(serving, "web") / "release.txt").write_text(f"{done}\n", encoding="utf-8")
            change(serving, "api", env={"RESTARTED": str(done)})
        else:
            (source(serving, "api") / "release.txt").write_text(f"{done}\n", encoding="utf-8")
            change(serving, "web", threads=4 + done)
        serving.inv("deploy")
        done += 1
    assert done >= 2, "the load ended before a release and a restart had been deployed"
    for each in visitors:
        seen, posted = each.outcomes()
        assert seen == {"ok": RATE * SECONDS}
        lines = [line for host in ("app1", "app2") for line in serving.on(host, f"cat {COUNTED[each.path]}").split()]
        stored = Counter(line for line in lines if line in posted)
        assert stored == dict.fromkeys(posted, 1)
