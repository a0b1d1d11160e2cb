"""Connections through the ProxyCommand of the operator's configuration."""

from __future__ import annotations

import shutil
import sys

import pytest

from plainstack.ssh.ways import Ways
from tests import sshd
from tests.unit.ssh.operators import Operator, Watched

pytestmark = [
    pytest.mark.programs,
    sshd.needed,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client"),
]


RELAY = """\
import socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := sys.stdin.buffer.raw.read(65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""


def test_a_proxy_command_carries_the_connection_and_the_key_of_the_host_behind_it_is_checked(
    operator: Operator,
) -> None:
    said = "# not by ssh\nprint('ssh', file=sys.stderr)\n"
    (operator.home / "relay.py").write_text(f"import sys\n{said}{RELAY}", encoding="utf-8")
    operator.config(f"ProxyCommand {sys.executable} {operator.home}/relay.py %h %p\n")
    assert operator.says(operator.stack()) == "hello"
    host = Watched(operator.host)
    assert "the host key is not pinned" in operator.failure(operator.stack(pins=""))
    assert not host.asked_to_log_in


def test_a_proxy_command_that_fails_is_reported(operator: Operator) -> None:
    operator.config("ProxyCommand false %h\n")
    reported = operator.failure(operator.stack())
    assert reported.startswith("db1: connect: no SSH through the proxy command `false 127.0.0.1` (127.0.0.1:")


@pytest.mark.parametrize(
    "command",
    [
        "ssh -W %h:%p other",
        "/usr/bin/ssh -q other nc %h %p",
        "exec ssh -W %h:%p other",
        "sh -c 'touch ran; ssh -W %h:%p other'",
        "env LC_ALL=C ssh other -W %h:%p",
        "timeout 10 ssh -W %h:%p other",
        "sshpass -f pw ssh -W %h:%p other",
    ],
)
def test_a_proxy_command_that_logs_in_elsewhere_is_refused_with_its_line(operator: Operator, command: str) -> None:
    operator.config(f"Host 127.0.0.1\n  User x\n\n  ProxyCommand {command}\n")
    other = Watched(operator.other)
    reported = operator.failure(operator.stack())
    assert reported.startswith("~/.ssh/config:4: ProxyCommand runs ssh, which would log in to a jump host")
    assert not other.connected


@pytest.mark.parametrize(
    ("script", "command", "line"),
    [
        ("#!/bin/sh\n# to the bastion\nexec ssh -W $1:$2 other\n", "~/bin/way %h %p", 3),
        ("#!/bin/sh\nexec ssh -W $1:$2 other\n", "%d/bin/way %h %p", 2),
        ("#!/bin/sh\nexec ssh -W $1:$2 other\n", "exec sh -e ~/bin/way %h %p", 2),
        ("SSH=/usr/bin/ssh\n$SSH -W $1:$2 other\n", "bash ${HOME}/bin/way %h %p", 1),
        ("import subprocess\nsubprocess.run(['ssh', '-W', 'x', 'other'])\n", "python3 ~/bin/way %h %p", 2),
        ('#!/bin/sh\nif true; then\n    nc $1 $2 || "$HOME/bin/way2"\nfi\n', "~/bin/way %h %p", 2),
        (None, "~/bin/way -W %h:%p other", 0),
    ],
)
def test_a_script_that_logs_in_elsewhere_is_refused_with_its_line(
    operator: Operator, script: str | None, command: str, line: int
) -> None:
    way, second = operator.home / "bin/way", operator.home / "bin/way2"
    way.parent.mkdir()
    second.write_text("#!/bin/sh\nssh other nc $1 $2\n", encoding="utf-8")
    if script is None:
        way.symlink_to(shutil.which("ssh") or "")
    else:
        way.write_text(script, encoding="utf-8")
        way.chmod(0o755)
    operator.config(f"Host 127.0.0.1\n  ProxyCommand {command}\n")
    other = Watched(operator.other)
    reported = operator.failure(operator.stack())
    file = second if script and "way2" in script else way
    place = f" (at {file}:{line})" if script else ""
    assert reported.startswith(f"~/.ssh/config:2: ProxyCommand runs ssh{place}, which would log in to a jump host")
    assert not other.connected


@pytest.mark.parametrize(
    "command",
    [
        "nc %h %p",
        "cloudflared access ssh --hostname %h",
        "aws ssm start-session --target %h --document AWS-StartSSHSession",
    ],
)
def test_a_proxy_command_that_only_mentions_ssh_is_allowed(operator: Operator, command: str) -> None:
    operator.config(f"ProxyCommand {command}\n")
    stack = operator.stack()
    assert Ways(stack).to(stack.hosts["db1"]).command == command.replace("%h", "127.0.0.1").replace(
        "%p", str(operator.host.port)
    )
