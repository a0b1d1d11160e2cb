"""Programs that run between an SSH exec and its command, with a real sshd: startup files, forced commands, sudo."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from plainstack.errors import HostFailed
from plainstack.ssh import session as session_module
from plainstack.ssh.connections import Sessions
from plainstack.ssh.exec_frame import Stream
from plainstack.ssh.session import Session
from tests import sshd
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.programs, sshd.needed]
ME = getpass.getuser()
OTHER_SHELLS = [shell for shell in ("bash", "zsh", "fish", "tcsh") if shutil.which(shell)]
LETS_IN = '[ "$1 $2" = "-n --" ] && shift 2 && exec "$@"'
NOISE = {
    "one line": "echo NOISE",
    "six lines": "for n in 1 2 3 4 5 6; do echo NOISE $n; done",
    "no newline": "printf NOISE",
    "stderr": "echo NOISE >&2; printf NOISE >&2",
    "what we say ourselves": "echo locked; echo 'probe 2'; echo end; printf '@done\\n@step\\tstart\\n'",
    "much": "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2",
    "a trace": 'set -x; : "$SSH_ORIGINAL_COMMAND"',
    "no UTF-8": "printf '\\377\\n'; printf '\\377\\n' >&2",
    "sudo's own word": "echo 'sudo: a password is required' >&2",
}


@dataclass
class Login:
    """A connection whose login shell and sudo are scripts of the test."""

    folder: Path
    session: Session

    def shell(self, script: str) -> None:
        """Set the commands that run instead of the login shell."""
        self._write("login", script)

    def sudo(self, script: str) -> Session:
        """Return a session that runs everything through this sudo."""
        self._write("bin/sudo", script)
        return Session("db1", self.session._connection, sudo=True)

    def _write(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    folder = tmp_path_factory.mktemp("sshd")
    with sshd.serving(folder, f"ForceCommand {folder}/login") as server, Sessions(server.stack(folder)) as sessions:
        yield Login(folder, sessions.to("db1"))


def refusal(session: Session) -> HostFailed:
    with pytest.raises(HostFailed) as caught:
        session.run("echo never", step="probe", timeout=PATIENCE)
    with pytest.raises(HostFailed) as held:
        session.hold("echo never").ask("")
    assert held.value.reason == caught.value.reason
    return caught.value


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
@pytest.mark.parametrize("sudo", [False, True], ids=["root", "sudo"])
def test_output_of_a_startup_file_is_not_part_of_any_result(login: Login, noise: str, sudo: bool) -> None:
    login.shell(f'{noise}\nexec sh -c "$SSH_ORIGINAL_COMMAND"')
    answers_are_its_own(login.sudo(LETS_IN) if sudo else login.session)


@pytest.mark.parametrize("shell", OTHER_SHELLS)
def test_commands_work_with_any_login_shell(login: Login, shell: str) -> None:
    login.shell(f'echo NOISE\nexec {shell} -c "$SSH_ORIGINAL_COMMAND"')
    answers_are_its_own(login.sudo(LETS_IN))


def answers_are_its_own(session: Session) -> None:
    """Check that a command's output is only its own, in all ways to run a command."""
    reported: list[str] = []
    output = session.run("echo one; cat; echo error >&2; exit 7", stdin=b"two\n", on_line=reported.append)
    assert (output.code, output.out, output.err, reported) == (7, "one\ntwo\n", "error\n", ["one", "two"])
    assert session.script('echo "it\'s"\n# and\necho more').out == "it's\nmore\n"
    held = session.hold('while read -r word; do echo "$word 17"; done')
    assert [held.ask("one"), held.ask("two")] == ["one 17", "two 17"]
    held.release()


@pytest.mark.parametrize("sudo", [False, True], ids=["root", "sudo"])
def test_every_command_finds_programs_in_sbin(login: Login, sudo: bool) -> None:
    login.shell('PATH=/bin; export PATH; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    session = login.session
    if sudo:
        session = login.sudo('shift 2; PATH=/bin; export PATH; exec "$@"')
        login.shell('exec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert session.run("echo $PATH").out == "/usr/sbin:/usr/bin:/sbin:/bin\n"


def test_a_host_that_wants_another_user_is_reported_with_that_user_and_without_delay(login: Login) -> None:
    """This forced command is cloud-init's (disable_root), which sleeps for ten seconds after its message."""
    login.shell('echo \'Please login as the user "admin" rather than the user "root".\';echo;sleep 200;exit 142')
    failed = refusal(login.session)
    assert str(failed) == (
        f"db1: probe: admin can log in on this host, but {ME} cannot (the default of cloud-init)."
        " Write `user: admin` under ssh in the inventory"
    )


def test_an_expired_password_is_reported(login: Login) -> None:
    """sshd itself prints this message, and ends the exec before a shell starts."""
    login.shell(
        "echo 'WARNING: Your password has expired.' >&2\n"
        "echo 'Password change required but no TTY available.' >&2\nexit 1"
    )
    failed = refusal(login.session)
    assert failed.reason == (
        f"the password of {ME} has expired. The host runs no commands until it is changed: log in as {ME} with"
        f" ssh and set a new one, or run as root: chage -d -1 {ME}"
    )


def test_a_login_shell_that_runs_nothing_is_reported_with_its_output(login: Login) -> None:
    login.shell("echo This account is currently not available.; exit 1")
    failed = refusal(login.session)
    assert failed.reason == f"the host did not run the command. To see why: ssh {ME}@127.0.0.1 true"
    assert failed.tail == ("This account is currently not available.",)


def test_a_startup_file_that_waits_for_input_is_reported(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    login.shell("echo which one; sleep 60")
    now = [0.0]
    feed = Stream.feed

    def late(stream: Stream, data: bytes) -> None:
        feed(stream, data)
        now[0] += 100

    # The time is up as soon as the startup file's question has arrived.
    monkeypatch.setattr(Stream, "feed", late)
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(HostFailed, match=r"did not start the command .* startup files wait for input") as caught:
        login.session.run("true", timeout=100)
    assert caught.value.tail == ("which one",)


@pytest.mark.parametrize(
    "words", ["sudo: unable to resolve host db1: Name or service not known", "sudo: /etc/sudoers.d/x: bad permissions"]
)
def test_a_command_that_fails_under_sudo_is_not_reported_as_refused_by_sudo(login: Login, words: str) -> None:
    login.shell('exec sh -c "$SSH_ORIGINAL_COMMAND"')
    session = login.sudo(f"echo '{words}' >&2; shift 2; exec \"$@\"")
    output = session.run("sh -c 'echo E: Unable to locate package >&2; exit 100'")
    assert (output.code, output.err) == (100, "E: Unable to locate package\n")
    output = session.run("sh -c 'echo sudo: is a word of mine >&2; exit 1'")
    assert (output.code, output.err) == (1, "sudo: is a word of mine\n")


@pytest.mark.parametrize("noise", ["", "echo NOISE; echo NOISE >&2"])
@pytest.mark.parametrize(
    ("sudo", "reason"),
    [
        (
            "echo 'sudo: unable to resolve host db1: Name or service not known' >&2\n"
            "echo 'sudo: a password is required' >&2; exit 1",
            f"sudo refused: sudo: a password is required. Let {ME} use sudo without a password (NOPASSWD)",
        ),
        (
            "echo 'ops is not in the sudoers file.' >&2; exit 1",
            f"sudo refused: ops is not in the sudoers file.. Let {ME} use sudo without a password (NOPASSWD)",
        ),
        (
            "echo 'sudo: Account or password is expired, reset your password and try again' >&2; exit 1",
            f"the password of {ME} has expired. The host runs no commands until it is changed: log in as {ME}"
            f" with ssh and set a new one, or run as root: chage -d -1 {ME}",
        ),
        ("exit 127", "sudo is not installed on the host. Install it, or log in as root (ssh.user)"),
    ],
)
def test_a_refusal_by_sudo_is_reported_with_a_remedy(login: Login, sudo: str, reason: str, noise: str) -> None:
    login.shell(f'{noise}\nexec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert refusal(login.sudo(sudo)).reason == reason
