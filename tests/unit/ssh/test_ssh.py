"""Open connections, against a real sshd on loopback: what is sent, what comes back, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest

from plainstack.errors import HostFailed
from plainstack.ssh import alive, connections
from plainstack.ssh import session as session_module
from plainstack.ssh.connections import Sessions
from plainstack.ssh.session import Session, abandon
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.programs, sshd.needed]
MEGABYTES_5 = b"0123456789abcdef" * (5 * 65536)


@pytest.fixture(scope="module")
def session(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Sessions(server.stack(tmp_path_factory.mktemp("operator"))) as sessions:
        yield sessions.to("db1")


@pytest.fixture
def own_session(server: Server, tmp_path: Path) -> Iterator[Session]:
    """Open a connection that the test may break."""
    with Sessions(server.stack(tmp_path)) as sessions:
        yield sessions.to("db1")


def test_an_exec_gives_its_exit_code_and_both_streams(session: Session) -> None:
    output = session.run("echo out; echo err >&2; exit 7")
    assert (output.code, output.out, output.err) == (7, "out\n", "err\n")


def test_input_arrives_completely_and_then_ends(session: Session) -> None:
    assert session.run("wc -c", stdin=MEGABYTES_5).out.strip() == str(len(MEGABYTES_5))
    assert session.run("cat", stdin=MEGABYTES_5).out.encode() == MEGABYTES_5
    assert session.run("cat", stdin=b"\xff\x00 last line without end").out == "\ufffd\x00 last line without end"


def test_a_program_that_ends_before_it_has_read_its_input_reports_its_own_reason(session: Session) -> None:
    """tar does this on a full disk: the reason is in its message, not in the connection."""
    output = session.run("echo 'No space left on device' >&2; exit 74", stdin=MEGABYTES_5)
    assert (output.code, output.err) == (74, "No space left on device\n")


def test_large_output_on_both_streams_is_read(session: Session) -> None:
    output = session.run("head -c 3000000 /dev/zero >&2; echo done; head -c 3000000 /dev/zero", timeout=PATIENCE)
    assert (output.code, len(output.out), len(output.err)) == (0, 3000005, 3000000)


def test_lines_are_reported_as_they_arrive(session: Session, tmp_path: Path) -> None:
    reported: list[str] = []

    def on_line(line: str) -> None:
        reported.append(line)
        (tmp_path / line).touch()

    # The program continues when the test has received the previous line.
    heard = f"until [ -e {tmp_path}/one ]; do sleep 0.02; done"
    output = session.run(
        f"echo one; {heard}; printf 'tw'; sleep 0.1; echo o; printf rest", on_line=on_line, timeout=PATIENCE
    )
    assert (reported, output.out) == (["one", "two"], "one\ntwo\nrest")


def test_input_can_be_held_open_for_a_program_that_runs_until_its_input_ends(session: Session) -> None:
    output = session.run("head -c 3; timeout 0.2 cat; echo $?", stdin=b"abc", hold_stdin=True)
    assert output.out == "abc124\n"


def test_several_execs_share_one_connection(server: Server, session: Session) -> None:
    before = server.log().count("Accepted publickey")
    answers = connections.fan_out("abcd", lambda name: session.run(f"sleep 0.1; echo {name}").out)
    assert answers == {name: f"{name}\n" for name in "abcd"}
    assert server.log().count("Accepted publickey") == before


def test_a_script_is_sent_on_stdin_and_not_on_a_command_line(session: Session) -> None:
    text = "secret=tell-nobody; tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$PPID/cmdline"
    output = session.script(text)
    assert output.code == 0
    assert "tell-nobody" not in output.out
    assert session.script(f"# {'x' * 300_000}\necho long").out == "long\n"


@pytest.mark.parametrize("command", ["sleep 60", "while :; do echo x; sleep 0.05; done", "exec >&- 2>&- sleep 60"])
def test_a_command_that_exceeds_its_timeout_is_ended(session: Session, command: str) -> None:
    with pytest.raises(HostFailed, match="within the timeout") as caught:
        session.run(command, timeout=0.5, step="probe", stdin=MEGABYTES_5)
    assert (caught.value.host, caught.value.step) == ("db1", "probe")


def test_a_lock_is_held_until_it_is_released(session: Session, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = session.hold(f"exec 9>{lock}; flock -n 9 && echo held; cat >/dev/null")
    assert held.ask("") == "held"
    assert session.run(f"flock -n {lock} true").code == 1
    held.release()
    assert session.run(f"flock -w {PATIENCE} {lock} true").code == 0


def test_a_killed_connection_is_a_failure_of_its_host(own_session: Session) -> None:
    def kill(line: str) -> None:
        os.kill(int(line), signal.SIGKILL)

    with pytest.raises(HostFailed, match=r"^db1: apply: the connection was lost"):
        own_session.run("echo $PPID; exec sleep 60", on_line=kill, step="apply")
    with pytest.raises(HostFailed, match="the connection was lost: it was closed"):
        own_session.run("true", step="next")


def test_a_silent_host_is_given_up(own_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []

    def stop(line: str) -> None:
        stopped.append(int(line))
        os.kill(stopped[0], signal.SIGSTOP)
        monkeypatch.setattr(alive, "ASK_AFTER", 0.2)
        monkeypatch.setattr(alive, "PATIENCE", 0.2)

    try:
        with pytest.raises(HostFailed, match="the connection was lost: no answer for"):
            own_session.run("echo $PPID; exec sleep 60", on_line=stop)
    finally:
        os.kill(stopped[0], signal.SIGKILL)


def test_a_host_that_is_silent_before_a_command_starts_is_given_up(
    own_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_process = int(own_session.run("echo $PPID").out)
    transport = own_session._connection.transport
    open_session = transport.open_session

    def open_then_stop(**options: float) -> object:
        channel = open_session(**options)
        os.kill(server_process, signal.SIGSTOP)
        monkeypatch.setattr(session_module, "ANSWER_WITHIN", 0.5)
        return channel

    monkeypatch.setattr(transport, "open_session", open_then_stop)
    try:
        with pytest.raises(HostFailed, match="the connection was lost"):
            own_session.run("true")
    finally:
        os.kill(server_process, signal.SIGKILL)


def test_a_connection_that_is_still_being_opened_at_the_end_of_a_run_is_closed_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    fresh = Sessions.fresh

    def slow(self: Sessions, name: str) -> Session:
        begun.set()
        assert ended.wait(PATIENCE)
        return fresh(self, name)

    monkeypatch.setattr(Sessions, "fresh", slow)
    with Sessions(server.stack(tmp_path)) as sessions, ThreadPoolExecutor() as pool:
        opening = pool.submit(sessions.to, "db1")
        assert begun.wait(PATIENCE)
        sessions.__exit__()
        ended.set()
        with pytest.raises(HostFailed, match="it was closed"):
            opening.result().run("true")


def test_a_program_killed_by_a_signal_is_not_a_lost_connection(session: Session) -> None:
    assert session.run("echo begun; kill -KILL $$").out == "begun\n"
    assert session.run("echo fine").out == "fine\n"


def test_a_sudo_that_asks_for_a_password_is_reported_with_a_remedy(own_session: Session) -> None:
    asked = Session("db1", own_session._connection, sudo=True)
    with pytest.raises(HostFailed, match=r"sudo refused: sudo: a password is required\. Let \w+ use sudo without"):
        asked.run("true")


def test_the_failure_of_one_host_does_not_affect_the_others() -> None:
    def work(name: str) -> str:
        if name == "b":
            raise HostFailed("b", "probe", "broken")
        return name.upper()

    answers = connections.fan_out(["a", "b", "c"], work)
    assert [str(answer) for answer in answers.values()] == ["A", "b: probe: broken", "C"]


def test_a_channel_over_a_dead_connection_closes_without_an_error() -> None:
    """Dying is a stand-in, because paramiko raises this only if the connection dies at the same moment."""

    class Dying(paramiko.Channel):
        def close(self) -> None:
            raise EOFError

    abandon(Dying(1))
