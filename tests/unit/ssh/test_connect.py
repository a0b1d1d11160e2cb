"""Connections to a real sshd on loopback: what is refused before anything is sent, and the error messages."""

from __future__ import annotations

import contextlib
import errno
import getpass
import logging
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plainstack.errors import HostFailed, InventoryError
from plainstack.inventory.stack import Stack
from plainstack.ssh import connect_errors
from plainstack.ssh.connections import Sessions
from plainstack.ssh.ways import Ways
from tests import inventories, sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.programs, sshd.needed]


def failure(stack: Stack) -> str:
    with Sessions(stack) as sessions, pytest.raises(HostFailed) as caught:
        sessions.to("db1")
    return str(caught.value)


def fingerprint(public: Path) -> str:
    reported = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True).stdout
    return f"ssh-ed25519 {reported.split()[1]}"


def test_an_unknown_host_key_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    before = len(server.log())
    reported = failure(server.stack(tmp_path, pin=""))
    assert reported == (
        f"db1: connect: the host key is not pinned (127.0.0.1:{server.port}). Run inv trust,"
        " compare the fingerprint, and try again"
    )
    assert "userauth-request" not in server.log()[before:]


def test_a_changed_host_key_is_reported_with_both_fingerprints_and_nothing_is_sent(
    server: Server, tmp_path: Path
) -> None:
    before = len(server.log())
    stranger = (server.folder / "stranger.pub").read_text(encoding="utf-8").split()[1]
    reported = failure(server.stack(tmp_path, pin=f"[127.0.0.1]:{server.port} ssh-ed25519 {stranger}\n"))
    assert reported == (
        f"db1: connect: the host key has CHANGED (127.0.0.1:{server.port}):"
        f" pinned {fingerprint(server.folder / 'stranger.pub')}, offered {fingerprint(server.folder / 'host.pub')}."
        " Nothing was sent. If the host was reinstalled: inv trust"
    )
    assert "userauth-request" not in server.log()[before:]


def test_the_key_to_pin_is_the_one_that_the_host_offers(server: Server, tmp_path: Path) -> None:
    with Sessions(server.stack(tmp_path, pin="")) as sessions:
        assert connect_errors.fingerprint(sessions.host_key("db1")) == fingerprint(server.folder / "host.pub")


def test_a_key_that_the_host_does_not_accept_is_reported(server: Server, tmp_path: Path) -> None:
    reported = failure(server.stack(tmp_path, key="stranger"))
    who, key = getpass.getuser(), server.folder / "stranger"
    assert reported == f"db1: connect: login as {who} was refused with {key} (127.0.0.1:{server.port})"


def test_a_key_with_a_passphrase_is_reported(server: Server, tmp_path: Path) -> None:
    locked = server.folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", str(locked)], check=True)
    assert failure(server.stack(tmp_path, key="locked")) == (
        f"db1: connect: {locked} has a passphrase, but there is no terminal to ask for it. Add the key to the"
        f" agent: ssh-add {locked} (127.0.0.1:{server.port})"
    )


def test_a_missing_key_is_an_inventory_error(server: Server, tmp_path: Path) -> None:
    stack = server.stack(tmp_path, key="nowhere")
    with Sessions(stack) as sessions, pytest.raises(InventoryError, match="there is no key at"):
        sessions.to("db1")


def test_a_port_without_a_listener_is_reported(server: Server, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        reported = failure(server.stack(tmp_path, port=port))
    assert reported == f"db1: connect: the connection was refused (127.0.0.1:{port}): is sshd running?"


def test_a_host_that_does_not_answer_fails_after_the_timeout_in_the_inventory(server: Server, tmp_path: Path) -> None:
    """The backlog is full: the kernel drops further connection attempts, as a firewall would."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        reported = failure(server.stack(tmp_path, port=port, connect_timeout=1))
    assert reported == f"db1: connect: no answer within 1 s (127.0.0.1:{port})"


def test_a_host_that_is_off_is_reported_if_the_network_says_so(server: Server, tmp_path: Path) -> None:
    """The kernel reports this error if nothing on its network segment answers for the address."""
    stack = server.stack(tmp_path)
    way = Ways(stack).to(stack.hosts["db1"])
    reported = connect_errors.explain(OSError(errno.EHOSTUNREACH, "No route to host"), way, stack)
    assert reported == f"no route to the host (127.0.0.1:{server.port}): is it up, and on this network?"


def test_a_server_that_is_not_sshd_is_reported(server: Server, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        answering = threading.Thread(target=_answer_like_a_web_server, args=(other,))
        answering.start()
        reported = failure(server.stack(tmp_path, port=other.getsockname()[1]))
        answering.join()
    assert "banner" in reported


def test_a_host_that_hangs_up_is_reported_without_a_traceback(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is booting hangs up like this, and so does an sshd with too many logins at once."""
    # pytest installs log handlers; a command has none.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        hanging_up = threading.Thread(target=lambda: other.accept()[0].close())
        hanging_up.start()
        reported = failure(server.stack(tmp_path, port=other.getsockname()[1]))
        hanging_up.join()
    assert reported.startswith("db1: connect: ")
    assert capfd.readouterr().err == ""


def test_a_host_gets_more_time_for_its_handshake_than_for_its_first_answer(server: Server, tmp_path: Path) -> None:
    with socket.socket() as slow, socket.socket() as there:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        there.connect(("127.0.0.1", server.port))

        def relay() -> None:
            here, _ = slow.accept()
            threading.Event().wait(1.2)
            threading.Thread(target=_copy, args=(here, there), daemon=True).start()
            _copy(there, here)

        relaying = threading.Thread(target=relay, daemon=True)
        relaying.start()
        port = slow.getsockname()[1]
        pin = server.pin.replace(f":{server.port} ", f":{port} ")
        with Sessions(server.stack(tmp_path, port=port, pin=pin, connect_timeout=1)) as sessions:
            assert sessions.to("db1").run("echo there").out == "there\n"
        # The server may have closed the connection already.
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)
        relaying.join(PATIENCE)
        assert not relaying.is_alive()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_dead_jump_host_is_tried_once_and_reported_for_all_hosts(server: Server, tmp_path: Path) -> None:
    tried = 0
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        dead.listen()
        gateway = f"ops@127.0.0.1:{dead.getsockname()[1]}"
        hosts = "".join(f"  db{number}: {{address: 10.0.0.{number}}}\n" for number in range(1, 9))
        login = f"{{key: {server.folder / 'operator'}, gateway: '{gateway}'}}"
        stack = inventories.parse(f"stack: test\nssh: {login}\nhosts:\n{hosts}", "test.yaml", tmp_path)

        def hang_up() -> None:
            nonlocal tried
            with contextlib.suppress(OSError):
                while True:
                    dead.accept()[0].close()
                    tried += 1

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with Sessions(stack) as sessions, ThreadPoolExecutor() as pool:
            reported = {
                str(opening.exception()) for opening in [pool.submit(sessions.to, name) for name in stack.hosts]
            }
        dead.shutdown(socket.SHUT_RDWR)
        hanging_up.join()
    assert tried == 1
    (sentence,) = reported
    assert sentence.startswith(f"gateway {gateway}: ")


def _answer_like_a_web_server(listening: socket.socket) -> None:
    accepted, _ = listening.accept()
    with accepted:
        # Read first: closing with unread data resets the connection, and the response is lost.
        accepted.recv(1000)
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
