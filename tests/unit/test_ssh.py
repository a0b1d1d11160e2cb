"""Connections, against a real sshd on loopback: what is sent and comes back, and what is refused before anything is."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack import inventory, ssh
from plainstack.errors import HostFailed, InventoryError
from plainstack.ssh import Session, Sessions
from plainstack.stack import Stack

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="needs openssh-server: make unit installs it")
MEGABYTES_5 = b"0123456789abcdef" * (5 * 65536)


@dataclass
class Server:
    """An sshd of this test, with a host key, and a folder for the operator's files."""

    folder: Path
    port: int

    @property
    def pin(self) -> str:
        """The line of a known_hosts file that is true."""
        kind, key = (self.folder / "host.pub").read_text(encoding="utf-8").split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def stack(self, folder: Path, *, port: int | None = None, key: str = "operator", pin: str | None = None) -> Stack:
        """A stack whose only host is this server."""
        login = f"user: {getpass.getuser()}, port: {port or self.port}, key: {self.folder / key}, connect_timeout: 1"
        text = f"stack: test\nssh: {{{login}}}\nhosts:\n  db1: {{address: 127.0.0.1}}\n"
        stack = inventory.parse(text, "test.yaml", folder)
        stack.state.mkdir(parents=True, exist_ok=True)
        ssh.known_hosts(stack).write_text(self.pin if pin is None else pin, encoding="utf-8")
        return stack


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "operator", "stranger"):
        make_key(folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "bin").mkdir()
    (folder / "bin/sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n", encoding="utf-8")
    (folder / "bin/sudo").chmod(0o755)
    (folder / "conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/operator.pub\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
        f"LogLevel DEBUG1\nSetEnv PATH={folder}/bin:/usr/bin:/bin\n",
        encoding="utf-8",
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD
    running = subprocess.Popen([SSHD, "-D", "-f", str(folder / "conf"), "-E", str(folder / "log")])
    try:
        _await(port)
        yield Server(folder, port)
    finally:
        running.terminate()
        running.wait()


def _await(port: int) -> None:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("sshd did not start")


@pytest.fixture(scope="module")
def session(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Sessions(server.stack(tmp_path_factory.mktemp("operator"))) as sessions:
        yield sessions.to("db1")


@pytest.fixture
def own_session(server: Server, tmp_path: Path) -> Iterator[Session]:
    """A connection that the test may break."""
    with Sessions(server.stack(tmp_path)) as sessions:
        yield sessions.to("db1")


def failure(stack: Stack) -> str:
    with Sessions(stack) as sessions, pytest.raises(HostFailed) as caught:
        sessions.to("db1")
    return str(caught.value)


def fingerprint(public: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True).stdout
    return f"ssh-ed25519 {told.split()[1]}"


def test_an_exec_gives_its_exit_code_and_both_streams(session: Session) -> None:
    output = session.run("echo out; echo err >&2; exit 7")
    assert (output.code, output.out, output.err) == (7, "out\n", "err\n")


def test_input_arrives_whole_and_ends(session: Session) -> None:
    began = time.monotonic()
    assert session.run("wc -c", stdin=MEGABYTES_5).out.strip() == str(len(MEGABYTES_5))
    assert session.run("cat", stdin=MEGABYTES_5).out.encode() == MEGABYTES_5
    assert session.run("cat", stdin=b"\xff\x00 last line without end").out == "\ufffd\x00 last line without end"
    assert time.monotonic() - began < 10


def test_a_program_that_ends_before_it_has_read_its_input_gives_its_own_reason(session: Session) -> None:
    """As tar does on a full disk: the reason is in its message, not in the connection."""
    output = session.run("echo 'No space left on device' >&2; exit 74", stdin=MEGABYTES_5)
    assert (output.code, output.err) == (74, "No space left on device\n")


def test_much_output_on_both_streams_is_read(session: Session) -> None:
    output = session.run("head -c 3000000 /dev/zero >&2; echo done; head -c 3000000 /dev/zero", timeout=30)
    assert (output.code, len(output.out), len(output.err)) == (0, 3000005, 3000000)


def test_lines_are_told_as_they_come(session: Session) -> None:
    told: list[tuple[str, float]] = []

    def on_line(line: str) -> None:
        told.append((line, time.monotonic()))

    session.run("echo one; sleep 0.3; printf 'tw'; sleep 0.1; echo o; printf rest", on_line=on_line)
    assert [line for line, _ in told] == ["one", "two"]
    assert told[1][1] - told[0][1] > 0.2


def test_input_stays_open_for_what_watches_it(session: Session) -> None:
    output = session.run("head -c 3; timeout 0.2 cat; echo $?", stdin=b"abc", hold_stdin=True)
    assert output.out == "abc124\n"


def test_several_execs_share_one_connection(server: Server, session: Session) -> None:
    before = server.log().count("Accepted publickey")
    answers = ssh.fan_out("abcd", lambda name: session.run(f"sleep 0.3; echo {name}").out)
    assert answers == {name: f"{name}\n" for name in "abcd"}
    assert server.log().count("Accepted publickey") == before


def test_a_script_travels_on_stdin_and_not_on_a_command_line(session: Session) -> None:
    text = "secret=tell-nobody; tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$PPID/cmdline"
    output = session.script(text)
    assert output.code == 0
    assert "tell-nobody" not in output.out
    assert session.script(f"# {'x' * 300_000}\necho long").out == "long\n"


@pytest.mark.parametrize("command", ["sleep 60", "while :; do echo x; sleep 0.05; done", "exec >&- 2>&- sleep 60"])
def test_what_does_not_end_in_its_time_is_ended(session: Session, command: str) -> None:
    began = time.monotonic()
    with pytest.raises(HostFailed, match="no end within the time-out") as caught:
        session.run(command, timeout=0.5, step="probe", stdin=MEGABYTES_5)
    assert time.monotonic() - began < 5
    assert (caught.value.host, caught.value.step) == ("db1", "probe")


def test_a_lock_is_held_until_it_is_released(session: Session, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    line, release = session.hold(f"exec 9>{lock}; flock -n 9 && echo held; cat >/dev/null")
    assert line == "held"
    assert session.run(f"flock -n {lock} true").code == 1
    release()
    assert session.run(f"flock -w 5 {lock} true").code == 0


def test_a_connection_that_is_killed_in_the_middle_is_a_failure_of_its_host(own_session: Session) -> None:
    def kill(line: str) -> None:
        os.kill(int(line), signal.SIGKILL)

    with pytest.raises(HostFailed, match=r"^db1: apply: the connection was lost"):
        own_session.run("echo $PPID; exec sleep 60", on_line=kill, step="apply")
    with pytest.raises(HostFailed, match="the connection was lost: it was closed"):
        own_session.run("true", step="next")


def test_a_host_that_falls_silent_is_given_up(own_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "ASK_AFTER", 0.2)
    monkeypatch.setattr(ssh, "PATIENCE", 0.5)
    stopped: list[int] = []

    def stop(line: str) -> None:
        stopped.append(int(line))
        os.kill(stopped[0], signal.SIGSTOP)

    try:
        with pytest.raises(HostFailed, match="the connection was lost: no answer for"):
            own_session.run("echo $PPID; exec sleep 60", on_line=stop)
    finally:
        os.kill(stopped[0], signal.SIGKILL)


def test_a_program_that_dies_by_a_signal_is_not_a_lost_connection(session: Session) -> None:
    assert session.run("echo begun; kill -KILL $$").out == "begun\n"
    assert session.run("echo fine").out == "fine\n"


def test_sudo_that_asks_for_a_password_is_told_with_what_to_do(own_session: Session) -> None:
    asked = Session("db1", own_session._connection, sudo=True)
    with pytest.raises(HostFailed, match=r"sudo refused: sudo: a password is required; let \w+ use sudo without"):
        asked.run("true")


def test_an_unknown_host_key_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    before = len(server.log())
    told = failure(server.stack(tmp_path, pin=""))
    assert told == (
        f"db1: connect: the host key is not pinned (127.0.0.1:{server.port}):"
        " run inv trust, compare the fingerprint, and try again"
    )
    assert "userauth-request" not in server.log()[before:]


def test_a_changed_host_key_is_told_with_both_fingerprints_and_nothing_is_sent(server: Server, tmp_path: Path) -> None:
    before = len(server.log())
    stranger = (server.folder / "stranger.pub").read_text(encoding="utf-8").split()[1]
    told = failure(server.stack(tmp_path, pin=f"[127.0.0.1]:{server.port} ssh-ed25519 {stranger}\n"))
    assert told == (
        f"db1: connect: the host key has CHANGED (127.0.0.1:{server.port}):"
        f" pinned {fingerprint(server.folder / 'stranger.pub')}, offered {fingerprint(server.folder / 'host.pub')};"
        " nothing was sent. If the host was reinstalled: inv trust"
    )
    assert "userauth-request" not in server.log()[before:]


def test_the_key_to_pin_is_the_one_the_host_offers(server: Server, tmp_path: Path) -> None:
    with Sessions(server.stack(tmp_path, pin="")) as sessions:
        assert ssh.fingerprint(sessions.host_key("db1")) == fingerprint(server.folder / "host.pub")


def test_a_key_that_the_host_does_not_know_is_told(server: Server, tmp_path: Path) -> None:
    told = failure(server.stack(tmp_path, key="stranger"))
    who, key = getpass.getuser(), server.folder / "stranger"
    assert told == f"db1: connect: log-in as {who} was refused with {key} (127.0.0.1:{server.port})"


def test_a_key_with_a_passphrase_is_told(server: Server, tmp_path: Path) -> None:
    locked = server.folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", str(locked)], check=True)
    assert failure(server.stack(tmp_path, key="locked")) == (
        f"db1: connect: {locked} has a passphrase: ssh-add it and remove ssh.key from the inventory"
        f" (127.0.0.1:{server.port})"
    )


def test_a_missing_key_is_an_error_of_the_inventory(server: Server, tmp_path: Path) -> None:
    stack = server.stack(tmp_path, key="nowhere")
    with Sessions(stack) as sessions, pytest.raises(InventoryError, match="no operator key at"):
        sessions.to("db1")


def test_a_port_where_nobody_listens_is_told(server: Server, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        told = failure(server.stack(tmp_path, port=port))
    assert told == f"db1: connect: the connection was refused (127.0.0.1:{port}); is sshd running?"


def test_a_host_that_does_not_answer_is_given_up_after_the_inventorys_time(server: Server, tmp_path: Path) -> None:
    """A full backlog: the kernel drops what else wants to connect, as a firewall would."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        told = failure(server.stack(tmp_path, port=port))
    assert told == f"db1: connect: no answer within 1 s (127.0.0.1:{port})"


def test_something_else_than_an_sshd_is_told(server: Server, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        answering = threading.Thread(target=_answer_like_a_web_server, args=(other,))
        answering.start()
        told = failure(server.stack(tmp_path, port=other.getsockname()[1]))
        answering.join()
    assert "banner" in told


def _answer_like_a_web_server(listening: socket.socket) -> None:
    accepted, _ = listening.accept()
    with accepted:
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_one_hosts_failure_is_its_own_result() -> None:
    def work(name: str) -> str:
        if name == "b":
            raise HostFailed("b", "probe", "broken")
        return name.upper()

    answers = ssh.fan_out(["a", "b", "c"], work)
    assert [str(answer) for answer in answers.values()] == ["A", "b: probe: broken", "C"]
