"""The supervisor of a command under a lease: how often it starts the command, and with which exit code it ends."""

from __future__ import annotations

import importlib.util
import os
from argparse import Namespace
from types import ModuleType
from typing import Any

import pytest
from lease import Ask, Row, Verb

from plainstack import shipped

PATH = shipped.FILES / "app/usr/local/lib/plainstack/one/__main__.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_main", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Command:
    """A command that ends by itself in the round after its start."""

    def __init__(self, code: int) -> None:
        self.code, self.starts, self.alive = code, 0, False

    def start(self, _environment: object) -> None:
        self.starts += 1
        self.alive = True

    def reap(self) -> bool:
        ended, self.alive = self.alive, False
        return ended

    def signal(self, _number: int) -> None: ...

    def kill(self) -> None:
        self.alive = False


class Database:
    """A database that answers at once; its lease has this row."""

    idle = True

    def __init__(self, row: Row) -> None:
        self.row = row
        self._asked: Ask | None = None

    def fileno(self) -> int:
        return 0

    def ask(self, ask: Ask) -> None:
        self._asked = ask
        if ask.verb is Verb.TAKE:
            self.row = Row("app1", "mine", ask.beat, 0, "", max(self.row.tick, ask.tick))

    def answer(self, _now: float) -> tuple[Ask, Row] | None:
        asked, self._asked = self._asked, None
        return (asked, self.row) if asked else None

    def close(self) -> None: ...


def supervised(program: ModuleType, row: Row, code: int, tick: int) -> tuple[int, Command]:
    """Run a supervisor, and return its exit code and its command."""
    options = Namespace(host="app1", lease="x", ttl=15.0, tick=tick, limit=0.0, stop_timeout=1.0, stop_signal="TERM")
    command: Any = Command(code)
    wake, woken = os.pipe2(os.O_NONBLOCK)
    os.write(woken, b"x")
    supervisor = program.Supervisor(options, command, wake)
    supervisor._database = Database(row)
    try:
        return supervisor.run(), command
    finally:
        os.close(wake)
        os.close(woken)


@pytest.mark.parametrize("tick", [0, 100])
@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_ends_by_itself_was_started_once(program: ModuleType, code: int, tick: int) -> None:
    ended, command = supervised(program, Row("", "", 0, 0, "", 40), code, tick)
    assert (ended, command.starts) == (code, 1)


def test_a_command_that_another_host_has_already_run_is_not_started(program: ModuleType) -> None:
    ended, command = supervised(program, Row("app2", "theirs", 4, 0, "", 100), 0, 100)
    assert (ended, command.starts) == (0, 0)
