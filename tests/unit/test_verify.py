"""How checks are run: several of a host at once, not too many commands on one, and a failure names its host."""

from __future__ import annotations

import ast
import inspect
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from plainstack import shipped
from plainstack.deploy import check_host, verify
from plainstack.deploy.verify import CheckResult, Verifier
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.shipped import ROOT
from plainstack.ssh.session import Output
from tests import inventories
from tests.waiting import PATIENCE

base, firewall = import_module("checks.test_base"), import_module("checks.test_firewall")
CHECKS = """
ROLE = "base"

def test_one(host, here):
    assert host.run("meet").stdout == "met", "alone"
    assert here.name != "db1", "it is db1"

def test_another(host):
    assert host.run("meet").stdout == "met", "alone"
"""


class Sessions:
    """Stand-ins for connections: each command is answered by a function of host and text."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self._answer = answer

    def to(self, name: str) -> Any:
        answer = self._answer

        class Session:
            def script(self, text: str, **_: object) -> Output:
                return Output(0, answer(name, text), "")

        return Session()


def checked(stack: Stack, vault: Vault, answer: Callable[[str, str], str], hosts: list[str]) -> list[CheckResult]:
    sessions: Any = Sessions(answer)
    # Without checks of its own.
    stack = stack.model_copy(update={"folder": shipped.ROOT})
    verifier = Verifier(stack, vault, sessions, registry(), (), hosts)
    verify.run(verifier)
    return verifier.results


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    folder = tmp_path / "checks"
    folder.mkdir()
    return folder


def test_checks_of_one_host_run_beside_each_other_and_a_failure_names_its_host(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_beside.py").write_text(CHECKS)
    barriers = {name: threading.Barrier(2, timeout=PATIENCE) for name in ("db1", "db2")}

    def meet(name: str, _text: str) -> str:
        barriers[name].wait()
        return "met"

    results = checked(stack, vault, meet, ["db1", "db2"])
    assert {(one.host, one.name): one.passed for one in results} == {
        ("db1", "test_one"): False,
        ("db2", "test_one"): True,
        ("db1", "test_another"): True,
        ("db2", "test_another"): True,
    }
    assert next(one.why for one in results if not one.passed).startswith("it is db1")


def test_a_host_runs_no_more_commands_at_once_than_its_sshd_takes(checks: Path, stack: Stack, vault: Vault) -> None:
    """All hosts look at db1, as every check of the firewall does from a monitoring host."""
    names = "\n".join(f'def test_{number}(peer):\n    peer("db1").run("x")' for number in range(6))
    (checks / "test_many.py").write_text(f'ROLE = "base"\n{names}\n')
    lock, full, running, most = threading.Lock(), threading.Event(), 0, 0

    def count(_name: str, _text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == check_host.COMMANDS:
                full.set()
        full.wait(PATIENCE)
        with lock:
            running -= 1
        return ""

    results = checked(stack, vault, count, list(stack.hosts))
    assert len(results) == 6 * len(stack.hosts)
    assert most == check_host.COMMANDS


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports of this machine: one that accepts, one that refuses, and one that is as silent as a filtered one."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.socket()) for _ in range(3)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        accepting, refusing, silent = servers
        accepting.listen()
        # With a full queue Linux drops what asks to be let in.
        silent.listen(0)
        for _ in range(2):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        names = ("accepting", "refusing", "silent")
        yield {name: server.getsockname()[1] for name, server in zip(names, (accepting, refusing, silent), strict=True)}


def test_a_port_that_answers_is_told_from_one_that_is_silent(ports: dict[str, int], tmp_path: Path) -> None:
    unwanted = [ports["refusing"], ports["silent"]]
    told = tmp_path / "told"
    # The pause of a machine that is as slow as this one: not over before the refusal was told.
    pause = f"sleep() {{ until grep -qx {ports['refusing']} {told}; do command sleep 0.02; done; command sleep $1; }}\n"
    for wanted in ([ports["accepting"]], []):
        script = f"exec >{told}\n{pause}{firewall.knock('127.0.0.1', wanted, unwanted)}"
        ran = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
        assert {int(port) for port in told.read_text(encoding="utf-8").split()} == {*wanted, ports["refusing"]}
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
def test_an_exporter_that_is_silent_or_answers_a_stranger_is_found(
    stack: Stack, answered: str, refused: str, holds: bool
) -> None:
    class Scraper:
        stdout = f"{answered}---\n{refused}"

        def run(self, *_: object) -> Any:
            return self

    check = base.test_the_node_exporter_answers_the_monitoring_hosts_and_nobody_without_a_certificate
    if holds:
        check(stack.hosts["db1"], stack, lambda _name: Scraper())
    else:
        with pytest.raises(AssertionError):
            check(stack.hosts["db1"], stack, lambda _name: Scraper())


ASKING = """
ROLE = "base"

def facts(stack, here):
    return {"lines": "echo 1; echo 2", "exits": f"echo {here.name}; exit 3", "reads": "cat; echo read"}

def test_one(facts):
    assert facts == {"lines": "1\\n2", "exits": "db1", "reads": "read"}, str(facts)

def test_another(facts):
    assert facts["exits"] == "db1", facts["exits"]
"""


def test_facts_are_asked_once_a_host_for_all_checks_and_do_not_mix(checks: Path, stack: Stack, vault: Vault) -> None:
    for number in (1, 2):
        (checks / f"test_asking_{number}.py").write_text(ASKING)
    asked: list[str] = []

    def ask(name: str, text: str) -> str:
        asked.append(name)
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1", "db2"])
    assert sorted(asked) == ["db1", "db2"]
    assert {(one.host, one.passed) for one in results} == {("db1", True), ("db2", False)}
    assert len(results) == 8
    assert {one.why.partition("\n")[0] for one in results if one.name == "test_another" and one.why} == {"db2"}


def test_a_check_of_a_role_that_no_chosen_host_has_is_not_run(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_present.py").write_text(ASKING)
    (checks / "test_absent.py").write_text(ASKING.replace('"base"', '"monitoring"'))

    def ask(_name: str, text: str) -> str:
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.role, one.passed) for one in results] == [("base", True), ("base", True)]


def test_a_host_that_cannot_be_asked_fails_each_of_its_checks_with_the_reason(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_unreachable.py").write_text(ASKING)

    def ask(name: str, _text: str) -> str:
        raise HostFailed(name, "connect", "no answer within 10 s")

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.name, one.passed) for one in results] == [("test_one", False), ("test_another", False)]
    assert all("no answer within 10 s" in one.why for one in results)


ADDRESSES = {name: str(host.address) for name, host in inventories.load(ROOT / "hosts.yaml").hosts.items()}


def asking_here(_name: str, text: str) -> str:
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout


def test_a_question_that_is_no_shell_has_no_answer_and_takes_none_from_others(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_unclosed.py").write_text(ASKING.replace("exit 3", "if true"))
    (checks / "test_whole.py").write_text(ASKING)
    results = checked(stack, vault, asking_here, ["db1"])
    assert [one.passed for one in results] == [False, False, True, True]


FIXTURES = """
import pytest

ROLE = "base"
made = []

@pytest.fixture(scope="module")
def folder(host, here):
    made.append(f"+{here.name}")
    yield host.run(f"mkdir {here.name}").stdout
    host.run(f"rmdir {here.name}")

@pytest.fixture
def inside(folder, request):
    return f"{folder}/{request.node.name}"

@pytest.fixture(params=["a", "b"])
def letter(request):
    return request.param

@pytest.fixture(autouse=True)
def always(here):
    yield

@pytest.mark.parametrize("port", [80, 443], ids=lambda port: f"port-{port}")
def test_ports(inside, here, port):
    assert inside.startswith(f"made {here.name}/test_ports["), inside
    assert port == 80, f"{port} is shut on {here.name}"

@pytest.mark.once
def test_letters(letter, folder, request):
    assert request.getfixturevalue("late") == "late"
    assert letter == "a", letter

@pytest.fixture
def late():
    return "late"

def test_skipped(here):
    pytest.skip("not here")

@pytest.mark.skipif(True, reason="never")
def test_skipped_by_a_mark(here):
    raise AssertionError

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False

@pytest.fixture(scope="class")
def shared(here):
    return [here.name]

class TestClass:
    kept = "of the class"

    def test_one(self, shared, here):
        shared.append("one")
        assert shared[0] == here.name

    def test_two(self, shared, tmp_path):
        assert (shared[1:], self.kept) == (["one"], "of the class")
        assert tmp_path.is_dir()

def setup_module():
    made.append("module")
"""


def test_a_check_takes_fixtures_of_its_own_as_in_any_test(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_ours.py").write_text(FIXTURES)
    said: dict[str, list[str]] = {"db1": [], "db2": []}

    def answer(name: str, text: str) -> str:
        said[name].append(text)
        return f"made {name}"

    results = checked(stack, vault, answer, ["db1", "db2"])
    everywhere = ["ports [port-80]", "one", "two"]
    held = {(one.host, one.promise) for one in results if one.passed}
    assert held == {("db1", "letters [a]"), *((host, name) for host in said for name in everywhere)}
    failed = {(one.host, one.promise): one.why.partition("\n")[0] for one in results if not one.passed}
    assert failed == {
        ("db1", "ports [port-443]"): "443 is shut on db1",
        ("db2", "ports [port-443]"): "443 is shut on db2",
        ("db1", "letters [b]"): "b",
    }
    assert said == {name: [f"mkdir {name}", f"rmdir {name}"] for name in said}, "once a host, and undone at its end"


def test_hosts_and_checks_without_a_fixture_in_common_run_beside_each_other(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    """Also through fixtures, which all of them have from one conftest.py."""
    (checks / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef met(host):\n    yield host.run('meet').stdout\n    host.run('part')\n"
    )
    names = "\n".join(f"def test_{number}(met, here):\n    assert met == here.name" for number in range(3))
    (checks / "test_beside.py").write_text(f'ROLE = "base"\n{names}\n')
    met, parted = threading.Barrier(6, timeout=PATIENCE), threading.Barrier(6, timeout=PATIENCE)

    def meet(name: str, text: str) -> str:
        (met if text == "meet" else parted).wait()
        return name

    results = checked(stack, vault, meet, ["db1", "db2"])
    assert [one.passed for one in results] == [True] * 6, [one.why for one in results]


BROKEN = {
    "test_syntax.py": ("def test_x(:\n", "checks/test_syntax.py:1: invalid syntax"),
    "test_imports.py": (
        "import os\nimport nothing_like_it\n",
        "checks/test_imports.py:2: ModuleNotFoundError: No module named 'nothing_like_it'",
    ),
    "test_raises.py": ("\n\nlist()[1]\n", "checks/test_raises.py:3: IndexError: list index out of range"),
    "test_no_role.py": ("def test_x(): pass\n", "checks/test_no_role.py:1: ROLE must name a role ("),
    "test_missing.py": (
        'ROLE = "base"\n\ndef test_x(nothing): pass\n',
        "checks/test_missing.py:3: there is no fixture 'nothing'",
    ),
    "test_fixture.py": (
        'ROLE = "base"\nimport pytest\n@pytest.fixture\ndef broken(here):\n    return {}[here.name]\n'
        "def test_x(broken): pass\n",
        "checks/test_fixture.py:5: KeyError: 'db1'",
    ),
    "test_scope.py": (
        'ROLE = "base"\nimport pytest\n@pytest.fixture(scope="session")\ndef wide(facts): pass\n'
        "def test_x(wide): pass\n",
        "checks/test_scope.py:5: ScopeMismatch: You tried to access the module scoped fixture facts",
    ),
    "test_teardown.py": (
        'ROLE = "base"\nimport pytest\n@pytest.fixture\ndef broken():\n    yield\n    1 / 0\n'
        "def test_x(broken): pass\n",
        "checks/test_teardown.py:6: ZeroDivisionError: division by zero",
    ),
    "test_body.py": ('ROLE = "base"\ndef test_x():\n    int("x")\n', "checks/test_body.py:3: ValueError: invalid"),
    "test_asks.py": (
        'ROLE = "base"\ndef facts(stack, here):\n    return {}["x"]\ndef test_x(facts): pass\n',
        "checks/test_asks.py:3: KeyError: 'x'",
    ),
    "test_asks_nothing.py": (
        'ROLE = "base"\ndef test_x(facts): pass\n',
        "checks/test_asks_nothing.py:2: LookupError: a check takes facts, and its module defines no function facts",
    ),
    "test_strict.py": (
        'ROLE = "base"\nimport pytest\n@pytest.mark.xfail(strict=True, reason="r")\ndef test_x(): pass\n',
        "[XPASS(strict)] r",
    ),
    "conftest.py": ("import os\nos.nothing\n", "checks/conftest.py:2: AttributeError: module 'os' has no attribute"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_in_a_check_is_a_check_that_failed_with_its_place(
    checks: Path, stack: Stack, vault: Vault, name: str
) -> None:
    text, told = BROKEN[name]
    (checks / name).write_text(text)
    (checks / "test_whole.py").write_text(ASKING)
    results = checked(stack, vault, asking_here, ["db1"])
    (bad,) = [one for one in results if not one.passed]
    assert bad.why.startswith(told)
    assert "Traceback" not in bad.why
    # Without its conftest.py no check can be run.
    assert len(results) == (1 if name == "conftest.py" else 3)


def test_every_fixture_that_the_shipped_checks_take_is_there(stack: Stack, vault: Vault) -> None:
    """Of every role; the hosts cannot be reached, which no check is in doubt about."""

    def nobody(name: str, _text: str) -> str:
        raise HostFailed(name, "connect", "no answer within 10 s")

    results = checked(stack, vault, nobody, ["lb1", "app1", "db1", "bak1", "mon1"])
    assert {one.role for one in results} == {role for host in stack.hosts.values() for role in host.roles} | {
        "base",
        "firewall",
    }
    assert [one.why for one in results if "fixture" in one.why or one.host == "-"] == []


def test_a_comparison_that_fails_shows_how_its_sides_differ(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a command, which no test of pytest surrounds.
    monkeypatch.setattr("_pytest.assertion.util._reprcompare", None)
    (checks / "test_compares.py").write_text(
        'ROLE = "base"\ndef test_x(host):\n    assert host.run("x").stdout.splitlines() == ["same", "wanted"]\n'
    )
    results = checked(stack, vault, lambda *_: "same\nseen\n", ["db1", "db2"])
    assert ["At index 1 diff: 'seen' != 'wanted'" in one.why for one in results] == [True, True]


def test_failures_in_several_threads_parse_no_source(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11 now and then fails to do that in two threads at once."""
    parse, main = ast.parse, threading.current_thread()

    def in_one_thread(*given: Any, **options: Any) -> Any:
        assert threading.current_thread() is main
        return parse(*given, **options)

    monkeypatch.setattr(ast, "parse", in_one_thread)
    (checks / "test_fails.py").write_text(
        'ROLE = "base"\nimport pytest\n@pytest.fixture\ndef broken(here): return {}["x"]\n'
        "def test_fails(here): assert here.name == 'x', 'it is not x'\ndef test_breaks(broken): pass\n"
        "def test_misses(nothing): pass\ndef test_says_it(): pytest.fail('no')\n"
    )
    results = checked(stack, vault, asking_here, ["db1", "db2"])
    assert [one.why.partition("\n")[0] for one in results if one.host == "db1"] == [
        "it is not x",
        "checks/test_fails.py:4: KeyError: 'x'",
        "checks/test_fails.py:7: there is no fixture 'nothing'",
        "no",
    ]


def test_what_a_check_prints_is_not_among_the_results(
    checks: Path, stack: Stack, vault: Vault, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    (checks / "test_prints.py").write_text('ROLE = "base"\nprint("loud")\ndef test_x():\n    print("louder")\n')
    (only,) = checked(stack, vault, asking_here, ["db1"])
    assert only.passed
    assert capsys.readouterr() == ("", "")


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
        "failed": "asked",
        "timers": "active\nactive",
        "metrics": "20\nplainstack_backup_last_success_timestamp_seconds 1\nplainstack_backup_size_bytes 1\n"
        "plainstack_barman_check_ok 1\nplainstack_barman_last_wal_timestamp_seconds 1",
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
    ("backup", "failed", "asked", "plainstack-backup.service loaded failed failed\nasked"),
    ("backup", "timers", "active\nactive", "active\nfailed"),
    ("backup", "metrics", "20\n", "1000\n"),
    ("backup", "metrics", "plainstack_barman_check_ok 1\n", ""),
]


def held(stack: Stack, role: str, facts: Mapping[str, str]) -> list[str]:
    """The checks of a role that go by facts alone and hold."""
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
def test_checks_hold_on_a_host_as_it_should_be_and_not_on_one_that_says_nothing(stack: Stack, role: str) -> None:
    facts = RIGHT[role]
    assert import_module(f"checks.test_{role}").facts(stack, stack.hosts["db1"]).keys() == facts.keys()
    assert held(stack, role, facts)
    assert held(stack, role, dict.fromkeys(facts, "")) == []


@pytest.mark.parametrize(("role", "fact", "old", "new"), WRONG)
def test_each_check_that_goes_by_facts_fails_when_one_is_wrong(
    stack: Stack, role: str, fact: str, old: str, new: str
) -> None:
    right = RIGHT[role]
    assert old in right[fact]
    wrong = {**right, fact: right[fact].replace(old, new)}
    assert len(held(stack, role, wrong)) == len(held(stack, role, right)) - 1
