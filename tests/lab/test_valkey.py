"""The cache on three hosts of a deployed stack: programs reach its primary, also after that has been lost.

The service is that of the example stack with Celery, which keeps its tasks in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from plainstack.postgresql.layout import AS_POSTGRES, BIN
from tests.lab import labs
from tests.lab.conftest import ROOT, Operator
from tests.lab.whole import await_nothing_to_deploy
from tests.waiting import PATIENCE, until

HOSTS = ("app1", "db1", "db2", "mon1", "bak1")
CACHE = ("db1", "mon1", "bak1")
MONITOR = ROOT / "stacks/incidents"
MACHINES = 20
CLI = "/usr/local/lib/plainstack/cache-cli"
# A Redis client in six lines: it prints the answer to one command, as a program on the host gets it.
ASK = """\
import os, socket, sys
sock = socket.create_connection(("127.0.0.1", 6379), 3)
sock.settimeout(3)
sock.sendall(f"AUTH {os.environ['CACHE_PASSWORD']}\\r\\n{sys.argv[1]}\\r\\n".encode())
lines = sock.makefile()
assert next(lines).strip() == "+OK"
print(next(lines).strip(), next(lines).strip() if sys.argv[1].startswith("GET") else "")
"""


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start the deployed stack, and deploy the cache to three of its hosts and the resource monitor to another."""
    with labs.from_snapshot("cache", labs.default_inventory(), project, HOSTS) as operator:
        text = operator.inventory.read_text(encoding="utf-8")
        for role in ("db", "monitoring", "backup"):
            text = text.replace(f"roles: [{role}]", f"roles: [{role}, cache]", 2 if role == "db" else 1)
        both = f"{labs.NETWORKS[0]}.12, roles: [db"
        assert f"{both}, cache]" in text
        text = text.replace(f"{both}, cache]", f"{both}]")
        service = yaml.safe_load((MONITOR / "hosts.yaml").read_text(encoding="utf-8"))["services"]["web"]
        service["source"] = str((MONITOR / service["source"]).resolve())
        service["env"] |= {"CACHE_PASSWORD": "${cache.password}", "POLL_INTERVAL": "5", "POLL_TIMEOUT": "2"}
        services = f"services: {yaml.safe_dump({'web': service}, default_flow_style=True, width=10**6)}"
        text, replaced = re.subn(r"^services:.*\n(?: .*\n)*", lambda _: services, text, flags=re.MULTILINE)
        assert replaced == 1
        operator.inventory.write_text(text, encoding="utf-8")
        operator.inv("deploy")
        yield operator


def ask(stack: Operator, command: str) -> str:
    """Return what Valkey answers to a program of the service on app1; "" if it cannot be reached."""
    environment = "/proc/$(systemctl show -p MainPID --value plainstack-web)/environ"
    password = f"export CACHE_PASSWORD=$(tr '\\0' '\\n' <{environment} | sed -n 's/^CACHE_PASSWORD=//p')"
    return stack.on("app1", f"{password}; python3 - '{command}' 2>/dev/null <<'END'\n{ASK}END", check=False).strip()


def parts(stack: Operator) -> dict[str, str]:
    """Return what `inv status` says about the cache, by host."""
    return {row["host"]: row["cache"] for row in stack.json("status", code=None) if row["cache"]}


def primary(stack: Operator) -> str:
    """Return the host that `inv status` shows as the only primary; "" if there is none."""
    found = [host for host, part in parts(stack).items() if part.startswith("primary")]
    return found[0] if len(found) == 1 else ""


def whole_rounds(stack: Operator, after: str) -> int:
    """Return how many rounds that began after a time have an outcome for every machine."""
    query = (
        f"select count(*) from incidents_round r where at > '{after}' and finished_at is not null"
        f" and {MACHINES} = (select count(*) from incidents_poll p where p.round_id = r.id)"
    )
    return int(stack.on("db1", f'cd / && {AS_POSTGRES} {BIN}/psql -XAtqd shop -c "{query}"'))


def test_a_cache_is_deployed_beside_other_roles_and_verified(stack: Operator) -> None:
    assert stack.subjects(code=0) == {}
    # The checks of the roles that the cache depends on also ask hosts that this lab does not have.
    checks = stack.json("verify", "--role=cache", code=None)["checks"]
    passed = {(check["host"], check["name"]) for check in checks if check["passed"]}
    assert {host for host, name in passed if name == "test_the_cache_answers_only_with_encryption_and_a_password"} == {
        *CACHE
    }

    def roles() -> list[str]:
        return sorted(part.replace(",", " ").split()[0] for part in parts(stack).values())

    until(lambda: roles() == ["primary", "replica", "replica"], "there is no primary with two replicas")


def test_celery_polls_every_machine_in_each_round(stack: Operator) -> None:
    until(lambda: whole_rounds(stack, "-infinity") > 1, "no two rounds are complete")


def test_when_the_primary_is_lost_programs_find_its_successor_at_the_same_address(stack: Operator) -> None:
    old = until(lambda: primary(stack))
    until(lambda: ask(stack, "SET order 4711") == "+OK", "programs on app1 do not reach the primary")
    # Replication is asynchronous: the promise is about what the replicas have.
    assert stack.on(old, f"{CLI} wait 2 {PATIENCE}000").strip() == "2"
    stack.on(old, "systemctl stop valkey-server")
    until(lambda: ask(stack, "GET order") == "$4 4711", "no new primary has the data")
    until(lambda: ask(stack, "INCR visits").startswith(":"), "the new primary accepts no writes")
    assert primary(stack) != old
    now = stack.on("db1", "date -u +%FT%TZ").strip()
    until(lambda: whole_rounds(stack, now), "no round that began after the loss is complete")
    until(lambda: stack.subjects(code=None) == {old: ["start valkey-server.service"]}, "more than the lost one differs")
    stack.inv("deploy")
    until(lambda: parts(stack)[old] == f"replica of {primary(stack)}", f"{old} does not follow the new primary")
    await_nothing_to_deploy(stack)
