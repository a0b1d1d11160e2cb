"""The shipped checks pass on a correct host and fail on an incorrect one."""

from __future__ import annotations

import ast
import inspect
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.shipped import CHECKS, ROOT
from tests import inventories
from tests.unit.deploy.checking import checked
from tests.waiting import PATIENCE

base, firewall = import_module("checks.test_base"), import_module("checks.test_firewall")


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Yield three port numbers: one port accepts connections, one refuses them, and one is silent, as if filtered."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.socket()) for _ in range(3)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        accepting, refusing, silent = servers
        accepting.listen()
        # While the queue of a socket is full, Linux drops new connection requests.
        silent.listen(0)
        for _ in range(2):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        names = ("accepting", "refusing", "silent")
        yield {name: server.getsockname()[1] for name, server in zip(names, (accepting, refusing, silent), strict=True)}


@pytest.mark.programs
def test_a_port_that_answers_is_distinguished_from_a_silent_port(ports: dict[str, int], tmp_path: Path) -> None:
    unwanted = [ports["refusing"], ports["silent"]]
    reported = tmp_path / "reported"
    # The script's pause must last until the refusal is reported, however slow this machine is.
    pause = (
        f"sleep() {{ until grep -qx {ports['refusing']} {reported}; do command sleep 0.02; done; command sleep $1; }}\n"
    )
    for wanted in ([ports["accepting"]], []):
        script = f"exec >{reported}\n{pause}{firewall.knock('127.0.0.1', wanted, unwanted)}"
        ran = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
        assert {int(port) for port in reported.read_text(encoding="utf-8").split()} == {*wanted, ports["refusing"]}
        assert ran.stderr == b""


@pytest.mark.parametrize(
    ("answered", "refused", "holds"),
    [
        ("node_filesystem_size_bytes{device=x} 1\n", "alert certificate required", True),
        ("", "alert certificate required", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "node_load1 1", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "Connection refused", False),
    ],
)
def test_an_exporter_that_is_silent_or_answers_clients_without_a_certificate_is_reported(
    stack: Stack, answered: str, refused: str, holds: bool
) -> None:
    class Scraper:
        stdout = f"{answered}---\n{refused}"

        def run(self, *_: object) -> Any:
            return self

    check = base.test_the_node_exporter_answers_only_monitoring_hosts_and_only_with_a_certificate
    if holds:
        check(stack.hosts["db1"], stack, lambda _name: Scraper())
    else:
        with pytest.raises(AssertionError):
            check(stack.hosts["db1"], stack, lambda _name: Scraper())


def parsed() -> Mapping[str, ast.Module]:
    return {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CHECKS.glob("test_*.py"))}


def test_every_assertion_of_the_shipped_checks_says_in_words_what_is_wrong() -> None:
    """Without a message, or with a bare value as message, `inv verify` would show Python's view of it."""
    silent = [
        f"{name}:{node.lineno}"
        for name, tree in parsed().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert | ast.Raise) and not _words(node)
    ]
    assert silent == []


def _words(node: ast.Assert | ast.Raise) -> bool:
    message = node.msg if isinstance(node, ast.Assert) else node.exc
    if isinstance(message, ast.Call) and message.args:
        message = message.args[0]
    while isinstance(message, ast.BinOp):
        message = message.left
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(" " in text.strip() for text in texts)


def test_no_two_shipped_checks_have_the_same_name() -> None:
    """A name is what `inv verify` promises, so that of one role's check is wrong in another role."""
    names = [
        node.name
        for tree in parsed().values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert sorted(names) == sorted(set(names))


def test_a_balancer_that_does_not_use_a_host_is_reported_with_the_host(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Balancer:
        def check_output(self, *_: object) -> str:
            return "web app1 192.168.57.14:8000 up\nweb app2 192.168.57.15:8000 down\n"

    balancer = import_module("checks.test_balancer")
    monkeypatch.setattr(balancer.time, "sleep", lambda _seconds: None)
    with pytest.raises(AssertionError) as caught:
        balancer.test_requests_go_to_every_application_host(stack.hosts["lb1"], stack, Balancer())
    assert "lb1 sends no requests to web on app2 (" in str(caught.value)
    assert "app1" not in str(caught.value)


TICKING = """
stack: s
hosts: {app1: {address: 10.0.0.1, roles: [ROLE]}}
services:
  blog:
    source: "."
    kind: binary
    hosts: ROLE
    processes: {web: {command: x}}
    timers: {tick: {command: x, calendar: daily}}
"""


@pytest.mark.parametrize("role", ["app", "worker"])
def test_a_timer_whose_last_run_failed_is_reported(role: str) -> None:
    class Ticking:
        stdout = ""

        def run(self, command: str) -> Any:
            assert command == "systemctl is-active plainstack-blog-tick.service"
            return self

    stack = inventories.parse(TICKING.replace("ROLE", role), "hosts.yaml", Path())
    module, host = import_module(f"checks.test_{role}"), Ticking()
    (check,) = [check for name, check in vars(module).items() if name.startswith("test_the_last_run_of_every_timer")]
    for host.stdout in ("inactive\n", "activating\n", "active\n"):
        check(host, stack.hosts["app1"], stack)
    host.stdout = "failed\n"
    with pytest.raises(AssertionError, match=r"the last run of plainstack-blog-tick\.service failed"):
        check(host, stack.hosts["app1"], stack)


ADDRESSES = {name: str(host.address) for name, host in inventories.load(ROOT / "hosts.yaml").hosts.items()}


def test_every_fixture_that_the_shipped_checks_use_exists(stack: Stack, vault: Vault) -> None:
    """The checks of every role run here, on hosts that cannot be reached; none may fail because of a fixture."""

    def nobody(name: str, _text: str) -> str:
        raise HostFailed(name, "connect", "no answer within 10 s")

    results = checked(stack, vault, nobody, ["lb1", "app1", "db1", "bak1", "mon1"])
    assert {one.role for one in results} == {role for host in stack.hosts.values() for role in host.roles} | {
        "base",
        "firewall",
    }
    assert [one.why for one in results if "fixture" in one.why or one.host == "-"] == []


RIGHT = {
    "base": {
        "addresses": "".join(f"{name} {address}\n" for name, address in ADDRESSES.items()),
        "name": "db1",
        "sshd": "port 22\npasswordauthentication no\nkbdinteractiveauthentication no\n"
        "permitrootlogin without-password\nclientaliveinterval 5",
        "timers": "active\nactive",
        "apt": 'APT::Periodic::Unattended-Upgrade "1";\nUnattended-Upgrade::Automatic-Reboot "false";\n'
        'Unattended-Upgrade::Origins-Pattern:: "label=Debian-Security";\n'
        'Unattended-Upgrade::Origins-Pattern:: "site=packages.test";',
        "sources": "https://packages.test/debian",
    },
    "firewall": {
        "filter": "active\nenabled\n-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT ACCEPT\nintact",
    },
    "db": {
        "checksums": "on",
        "secrets": "600 /var/lib/postgresql/.pgpass\n640 /etc/postgresql/17/main/plainstack.sql\n"
        "640 /etc/plainstack/tls/host.key\n700 /var/lib/postgresql/17/main",
    },
    "backup": {
        "failed": "listed",
        "timers": "active\nactive\nactive\nactive",
        "metrics": "20\nplainstack_backup_last_success_timestamp_seconds 1\nplainstack_backup_size_bytes 1\n"
        "plainstack_barman_check_ok 1\nplainstack_barman_last_wal_timestamp_seconds 1\n"
        "plainstack_backup_wal_gaps 0\nplainstack_barman_streaming 1",
    },
}
WRONG = [
    ("base", "addresses", "192.168.57.11", "192.168.57.99"),
    ("base", "addresses", "db2", "db9"),
    ("base", "name", "db1", "db2"),
    ("base", "sshd", "passwordauthentication no", "passwordauthentication yes"),
    ("base", "sshd", "kbdinteractiveauthentication no", "kbdinteractiveauthentication yes"),
    ("base", "sshd", "without-password", "yes"),
    ("base", "sshd", "clientaliveinterval 5", "clientaliveinterval 0"),
    ("base", "timers", "active\nactive", "active\ninactive"),
    ("base", "apt", '"1"', '"0"'),
    ("base", "apt", '"false"', '"true"'),
    ("base", "apt", "label=Debian-Security", "label=Debian"),
    ("base", "apt", "site=packages.test", "site=other.test"),
    ("base", "sources", "packages.test", "other.test"),
    ("firewall", "filter", "active", "inactive"),
    ("firewall", "filter", "enabled", "disabled"),
    ("firewall", "filter", "INPUT DROP", "INPUT ACCEPT"),
    ("firewall", "filter", "\nintact", ""),
    ("db", "checksums", "on", "off"),
    ("db", "secrets", "640 /etc/plainstack", "644 /etc/plainstack"),
    ("db", "secrets", "700 /var", "755 /var"),
    ("db", "secrets", "600 /var/lib/postgresql/.pgpass\n", ""),
    ("backup", "failed", "listed", "plainstack-backup.service loaded failed failed\nlisted"),
    ("backup", "timers", "active\nactive", "active\nfailed"),
    ("backup", "metrics", "20\n", "1000\n"),
    ("backup", "metrics", "plainstack_barman_check_ok 1\n", ""),
]


def held(stack: Stack, role: str, facts: Mapping[str, str]) -> list[str]:
    """Return the names of a role's checks that need nothing but facts, and that pass with these facts."""
    module = import_module(f"checks.test_{role}")
    known: dict[str, Any] = {"facts": facts, "stack": stack, "here": stack.hosts["db1"]}
    holds = []
    for name, check in inspect.getmembers(module, inspect.isfunction):
        wanted = inspect.signature(check).parameters
        if name.startswith("test_") and "facts" in wanted and wanted.keys() <= known.keys():
            with suppress(AssertionError):
                check(**{key: known[key] for key in wanted})
                holds.append(name)
    return holds


@pytest.mark.parametrize("role", RIGHT)
def test_checks_pass_on_a_correct_host_and_fail_on_one_without_output(stack: Stack, role: str) -> None:
    facts = RIGHT[role]
    assert import_module(f"checks.test_{role}").facts(stack, stack.hosts["db1"]).keys() == facts.keys()
    assert held(stack, role, facts)
    assert held(stack, role, dict.fromkeys(facts, "")) == []


@pytest.mark.parametrize(("role", "fact", "old", "new"), WRONG)
def test_each_check_based_on_facts_fails_when_its_fact_is_wrong(
    stack: Stack, role: str, fact: str, old: str, new: str
) -> None:
    right = RIGHT[role]
    assert old in right[fact]
    wrong = {**right, fact: right[fact].replace(old, new)}
    assert len(held(stack, role, wrong)) == len(held(stack, role, right)) - 1
