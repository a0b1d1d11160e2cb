"""Remote programs that use this process's streams and terminal, through a real sshd on loopback."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plainstack.errors import HostFailed
from plainstack.ssh.attach import Streams, attach
from plainstack.ssh.connections import Sessions
from plainstack.ssh.session import Session
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.programs, sshd.needed]


@pytest.fixture
def session(server: Server, tmp_path: Path) -> Iterator[Session]:
    with Sessions(server.stack(tmp_path)) as sessions:
        yield sessions.to("db1")


class Said:
    """The output of a program."""

    def __init__(self) -> None:
        self.out, self.err = b"", b""

    def output(self, data: bytes) -> None:
        self.out += data

    def errors(self, data: bytes) -> None:
        self.err += data


@contextmanager
def reading(path: Path, data: bytes = b"") -> Iterator[int]:
    """Yield a file descriptor for a program's input."""
    path.write_bytes(data)
    with path.open("rb") as file:
        yield file.fileno()


def test_a_program_has_both_streams_and_its_exit_code(session: Session, tmp_path: Path) -> None:
    said = Said()
    with reading(tmp_path / "input", b"typed\n") as given:
        code = attach(session, "cat; echo wrong >&2; exit 7", Streams(given, said.output, said.errors))
    assert (code, said.out, said.err) == (7, b"typed\n", b"wrong\n")


def test_bytes_pass_unchanged_in_both_directions_at_once(session: Session, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    said = Said()
    with reading(tmp_path / "input", data) as given:
        assert attach(session, "cat", Streams(given, said.output, said.errors)) == 0
    assert said.out == data


def test_without_a_command_the_login_shell_reads_commands(session: Session, tmp_path: Path) -> None:
    said = Said()
    with reading(tmp_path / "input", b"echo one\nexit 5\n") as given:
        assert attach(session, "", Streams(given, said.output, said.errors)) == 5
    assert said.out.endswith(b"one\n")


def test_the_first_ctrl_c_interrupts_the_program_and_waits_for_its_end(session: Session, tmp_path: Path) -> None:
    said, asked = Said(), []

    def output(data: bytes) -> None:
        said.output(data)
        if data == b"ready\n":
            signal.raise_signal(signal.SIGINT)

    def interrupt() -> None:
        asked.append(True)
        (tmp_path / "interrupted").touch()

    waits = f"echo ready; until [ -e {tmp_path}/interrupted ]; do sleep 0.02; done; echo tidied; exit 4"
    with reading(tmp_path / "input") as given:
        assert attach(session, waits, Streams(given, output, said.errors), interrupt) == 4
    assert (said.out, asked) == (b"ready\ntidied\n", [True])


def test_a_second_ctrl_c_abandons_the_program(session: Session, tmp_path: Path) -> None:
    pressed = tmp_path / "pressed"

    def press(_: bytes) -> None:
        pressed.touch()
        signal.raise_signal(signal.SIGINT)

    printed_twice = f"echo a; until [ -e {pressed} ]; do sleep 0.02; done; echo b; exec sleep 60"
    with reading(tmp_path / "input") as given, pytest.raises(KeyboardInterrupt):
        attach(session, printed_twice, Streams(given, press, press), lambda: None)


class Terminal:
    """A terminal, and a person who reads and types at it."""

    def __init__(self) -> None:
        self.person, self.program = pty.openpty()
        self.resize(24, 80)
        self.said = ""
        self._lock = threading.Lock()

    def resize(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self.program, (lines, columns))

    def type(self, keys: str) -> None:
        os.write(self.person, keys.encode())

    def output(self, data: bytes) -> None:
        with self._lock:
            self.said += data.decode()

    @property
    def streams(self) -> Streams:
        return Streams(self.program, self.output, self.output, terminal=True)

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.program)

    def close(self) -> None:
        os.close(self.person)
        os.close(self.program)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do work in a thread meanwhile; if the work fails, the test fails."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(PATIENCE)
    for failure in failures:
        raise failure


def test_on_a_terminal_keys_size_and_ctrl_c_reach_the_program(session: Session, terminal: Terminal) -> None:
    terminal.resize(31, 97)
    before = terminal.modes()

    def person() -> None:
        until(lambda: "31 97" in terminal.said, terminal)
        terminal.type("hello\r")
        until(lambda: "read hello" in terminal.said)
        terminal.resize(40, 120)
        os.kill(os.getpid(), signal.SIGWINCH)
        until(lambda: "now 40 120" in terminal.said)
        terminal.type("\x03")

    program = """\
trap 'echo now $(stty size)' WINCH
trap 'echo interrupted; exit 9' INT
stty size
read -r line; echo "read $line"
while :; do sleep 0.05; done
"""
    with meanwhile(person):
        assert attach(session, program, terminal.streams) == 9
    assert terminal.said.endswith("interrupted\r\n")
    assert terminal.said.startswith("31 97")
    assert terminal.modes() == before


def test_a_lost_connection_is_reported_and_the_terminal_is_restored(session: Session, terminal: Terminal) -> None:
    before = terminal.modes()

    def person() -> None:
        until(lambda: "\n" in terminal.said)
        os.kill(int(terminal.said), signal.SIGKILL)

    with meanwhile(person), pytest.raises(HostFailed, match="db1: the connection was lost"):
        attach(session, "echo $PPID; exec sleep 60", terminal.streams)
    assert terminal.modes() == before
