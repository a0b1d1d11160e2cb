"""Checks work like ordinary pytest tests, with fixtures, parameters and marks, and run on several hosts at once."""

from __future__ import annotations

import ast
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from _pytest.pathlib import make_numbered_dir_with_cleanup

from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.ssh.session import Output
from tests.unit.deploy.checking import ASKING, asking_here, checked
from tests.waiting import PATIENCE

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


def test_a_check_may_have_its_own_fixtures_like_any_test(checks: Path, stack: Stack, vault: Vault) -> None:
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


def test_hosts_and_checks_without_a_common_fixture_run_in_parallel(checks: Path, stack: Stack, vault: Vault) -> None:
    """This includes checks that take a fixture from the same conftest.py."""
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


def test_temporary_folders_of_checks_in_several_threads_have_one_parent(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two threads made one each, pytest could refuse a folder, because it is not in the other parent."""
    made: list[Path] = []

    def slowly(**options: Any) -> Path:
        made.append(make_numbered_dir_with_cleanup(**options))
        time.sleep(0.05)
        return made[-1]

    monkeypatch.setattr("_pytest.tmpdir.make_numbered_dir_with_cleanup", slowly)
    (checks / "test_folders.py").write_text('ROLE = "base"\ndef test_x(tmp_path):\n    assert tmp_path.is_dir()\n')
    results = checked(stack, vault, asking_here, ["db1", "db2"])
    assert ([one.why for one in results], len(made)) == (["", ""], 1)


def test_the_bytecode_of_checks_is_not_cached(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (checks / "conftest.py").write_text("")
    (checks / "test_body.py").write_text('ROLE = "base"\ndef test_x():\n    pass\n')
    assert [one.passed for one in checked(stack, vault, asking_here, ["db1"])] == [True]
    assert not list(checks.rglob("*.pyc"))
    assert not sys.dont_write_bytecode


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
        "checks/test_asks_nothing.py:2: LookupError: a check uses the fixture `facts`, but its module defines no",
    ),
    "test_strict.py": (
        'ROLE = "base"\nimport pytest\n@pytest.mark.xfail(strict=True, reason="r")\ndef test_x(): pass\n',
        "[XPASS(strict)] r",
    ),
    "conftest.py": ("import os\nos.nothing\n", "checks/conftest.py:2: AttributeError: module 'os' has no attribute"),
}


@pytest.mark.programs
@pytest.mark.parametrize("name", BROKEN)
def test_an_error_in_a_check_is_a_failed_check_with_its_file_and_line(
    checks: Path, stack: Stack, vault: Vault, name: str
) -> None:
    text, reported = BROKEN[name]
    (checks / name).write_text(text)
    (checks / "test_whole.py").write_text(ASKING)
    results = checked(stack, vault, asking_here, ["db1"])
    (bad,) = [one for one in results if not one.passed]
    assert bad.why.startswith(reported)
    assert "Traceback" not in bad.why
    # No check can run if conftest.py cannot be imported.
    assert len(results) == (1 if name == "conftest.py" else 3)


def test_a_failed_comparison_shows_how_its_sides_differ(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `inv verify` runs outside of a pytest test, where this hook is None.
    monkeypatch.setattr("_pytest.assertion.util._reprcompare", None)
    (checks / "test_compares.py").write_text(
        'ROLE = "base"\ndef test_x(host):\n    assert host.run("x").stdout.splitlines() == ["same", "wanted"]\n'
    )
    results = checked(stack, vault, lambda *_: "same\nseen\n", ["db1", "db2"])
    assert ["At index 1 diff: 'seen' != 'wanted'" in one.why for one in results] == [True, True]


def test_advice_about_the_options_of_pytest_is_not_shown(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_pytest.assertion.util._reprcompare", None)
    (checks / "test_long.py").write_text(
        'ROLE = "base"\ndef test_list(host):\n    assert host.run("x").stdout.split() == ["a"]\n'
        'def test_text(host):\n    assert host.run("x").stdout == "x\\n" * 50\n'
    )
    results = checked(stack, vault, lambda *_: "a b c d\n" * 40, ["db1"])
    assert [(one.passed, one.why.startswith("assert ")) for one in results] == [(False, True)] * 2
    assert not [line for one in results for line in one.why.splitlines() if "-v" in line]


def test_the_message_of_an_assertion_is_all_that_is_said(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_pytest.assertion.util._reprcompare", None)
    (checks / "test_says.py").write_text(
        'ROLE = "base"\ndef test_x(host):\n    lines = host.run("x").stdout.split()\n'
        '    assert all(line == "up" for line in lines), f"not up: {lines[0]}\\nsecond line"\n'
    )
    (result,) = checked(stack, vault, lambda *_: "down", ["db1"])
    assert result.why == "not up: down\nsecond line"


def test_a_command_that_fails_in_a_check_is_named_with_what_it_said(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_asks.py").write_text('ROLE = "base"\ndef test_x(host):\n    host.check_output("ls %s", "a b")\n')
    (result,) = checked(stack, vault, lambda *_: Output(2, "", "ls: no such file\n"), ["db1"])
    assert result.why == "db1: `ls 'a b'` ended with exit code 2: ls: no such file"


def test_failures_in_several_threads_do_not_parse_source_code(
    checks: Path, stack: Stack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11 sometimes fails to parse source in two threads at once."""
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


def test_output_of_a_check_is_not_mixed_with_the_results(
    checks: Path, stack: Stack, vault: Vault, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    (checks / "test_prints.py").write_text('ROLE = "base"\nprint("loud")\ndef test_x():\n    print("louder")\n')
    (only,) = checked(stack, vault, asking_here, ["db1"])
    assert only.passed
    assert capsys.readouterr() == ("", "")
