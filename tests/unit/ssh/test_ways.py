"""The operator's ~/.ssh/config, against real OpenSSH servers: which way connections take, and which are refused."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from plainstack.errors import InventoryError, PlainstackError, Refused
from plainstack.inventory.destination import Destination
from plainstack.inventory.stack import Stack
from plainstack.ssh import connections, pinning
from plainstack.ssh.config import resolve
from plainstack.ssh.connections import Sessions
from plainstack.ssh.ways import Ways
from tests import inventories, sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.programs,
    sshd.needed,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client"),
]
ME = getpass.getuser()


@dataclass
class Operator:
    """An operator's home directory, with a key that all servers accept, and a stack whose only host is `host`."""

    home: Path
    host: Server
    other: Server
    far: Server

    def config(self, text: str) -> None:
        """Write ~/.ssh/config, with two more servers in it as `other` and `far`."""
        for name, server in (("other", self.other), ("far", self.far)):
            text += f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {ME}\n"
        (self.home / ".ssh/config").write_text(text, encoding="utf-8")

    def stack(self, ssh_lines: str = "", pins: str | None = None) -> Stack:
        """Return a stack whose inventory names no key and, except in `ssh_lines`, no gateway."""
        login = f"user: {ME}, port: {self.host.port}, connect_timeout: {PATIENCE}{ssh_lines}"
        text = f"stack: test\nssh: {{{login}}}\nhosts:\n  db1: {{address: 10.0.0.1}}\n"
        stack = sshd.at(inventories.parse(text, "hosts.yaml", self.home), {"db1": IPv4Address("127.0.0.1")})
        connections.known_hosts(stack).parent.mkdir(parents=True, exist_ok=True)
        connections.known_hosts(stack).write_text(self.host.pin if pins is None else pins, encoding="utf-8")
        return stack

    def says(self, stack: Stack) -> str:
        """Return the host's answer over a new connection."""
        with Sessions(stack) as sessions:
            return sessions.to("db1").run("echo hello; echo $SSH_AUTH_SOCK").out.strip()

    def failure(self, stack: Stack) -> str:
        """Return why the host cannot be reached."""
        with Sessions(stack) as sessions, pytest.raises(PlainstackError) as caught:
            sessions.to("db1")
        return str(caught.value)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server, Server]]:
    one, two, three = (tmp_path_factory.mktemp(name) for name in ("host", "other", "far"))
    with sshd.serving(one) as host, sshd.serving(two) as other, sshd.serving(three) as far:
        for server in (other, far):
            shutil.copy(host.folder / "operator.pub", server.folder / "operator.pub")
        yield host, other, far


@pytest.fixture
def operator(servers: tuple[Server, Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    (tmp_path / ".ssh").mkdir()
    shutil.copy(servers[0].folder / "operator", tmp_path / ".ssh/id_ed25519")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Operator(tmp_path, *servers)


class Watched:
    """A server's log from now on."""

    def __init__(self, server: Server) -> None:
        self._server, self._begin = server, len(server.log())

    @property
    def connected(self) -> bool:
        """Whether an SSH client has connected; a probe of the port, perhaps by an earlier test, does not count."""
        return "Remote protocol version" in self._server.log()[self._begin :]

    @property
    def asked_to_log_in(self) -> bool:
        return "userauth-request" in self._server.log()[self._begin :]

    @property
    def logged_in(self) -> bool:
        return "Accepted publickey" in self._server.log()[self._begin :]


# --- jump hosts -----------------------------------------------------------------------------------------------------


def test_nothing_is_sent_to_an_unpinned_jump_host_or_the_host_behind_it(operator: Operator) -> None:
    operator.config("# mine\nHost 127.*\n  ProxyJump other\n")
    host, other = Watched(operator.host), Watched(operator.other)
    assert operator.failure(operator.stack()) == (
        f"db1: connect: jump host other (127.0.0.1:{operator.other.port}) of ~/.ssh/config:3: the host key is not"
        " pinned. Run inv trust, compare the fingerprint, and try again"
    )
    assert other.connected
    assert not other.asked_to_log_in
    assert not host.connected


def test_nothing_is_sent_to_a_jump_host_with_the_wrong_key(operator: Operator) -> None:
    operator.config("Host 127.*\n  ProxyJump other\n")
    other = Watched(operator.other)
    stranger = (operator.host.folder / "stranger.pub").read_text(encoding="utf-8")
    pins = operator.host.pin + f"[127.0.0.1]:{operator.other.port} {stranger}"
    reported = operator.failure(operator.stack(pins=pins))
    assert "of ~/.ssh/config:2: the host key has CHANGED: pinned ssh-ed25519 SHA256:" in reported
    assert not other.asked_to_log_in


def test_trust_pins_jump_hosts_from_near_to_far_and_then_the_hosts_behind_them(operator: Operator) -> None:
    operator.config("Host 127.*\n  ProxyJump other,far\n")
    stack = operator.stack(pins="")
    watched = [Watched(server) for server in (operator.other, operator.far, operator.host)]
    found = []
    for one in pinning.rounds(stack, lambda _: None):
        found += [(change.host, change.entry) for change in one.changes]
        assert not one.failed
        assert [server.connected for server in watched] == [place < len(found) for place in range(3)]
        assert not watched[len(found) - 1].asked_to_log_in
        pinning.pin(stack, one.changes)
    ports = [server.port for server in (operator.other, operator.far, operator.host)]
    names = [f"other (127.0.0.1:{ports[0]})", f"far (127.0.0.1:{ports[1]})", "db1"]
    assert found == [(name, f"[127.0.0.1]:{port}") for name, port in zip(names, ports, strict=True)]
    assert operator.says(stack) == "hello"
    assert all(server.logged_in for server in watched)


def test_the_gateway_in_the_inventory_overrides_the_jump_host_in_the_configuration(operator: Operator) -> None:
    operator.config("Host 127.*\n  ProxyJump far\n")
    other = Watched(operator.other)
    there = operator.stack(", gateway: other")
    assert operator.failure(there) == (
        f"gateway other (127.0.0.1:{operator.other.port}): the host key is not pinned. Run inv trust, compare the"
        " fingerprint, and try again"
    )
    there = operator.stack(", gateway: other", pins=operator.host.pin + operator.other.pin)
    assert operator.says(there) == "hello"
    assert other.logged_in


@pytest.mark.parametrize("text", ["ProxyJump none\nProxyJump other\n", "Host !127.0.0.1 *\n  ProxyJump other\n", ""])
def test_proxyjump_none_means_no_jump_host(operator: Operator, text: str) -> None:
    operator.config(text)
    other = Watched(operator.other)
    assert operator.says(operator.stack()) == "hello"
    assert not other.connected


def test_an_inventory_can_turn_off_the_jump_host(operator: Operator) -> None:
    operator.config("Host 127.*\n  ProxyJump other\n")
    other = Watched(operator.other)
    assert operator.says(operator.stack(", gateway: none")) == "hello"
    assert not other.connected


@pytest.mark.parametrize("network", ["192.0.2.0/24", "0.0.0.0/0"])
def test_every_jump_host_in_a_block_for_a_network_must_be_pinned(operator: Operator, network: str) -> None:
    """OpenSSH before 9.4 does not know the keyword and rejects the file."""
    operator.config(f"Match localnetwork {network}\n  ProxyJump other\n")
    other = Watched(operator.other)
    with Sessions(operator.stack()) as sessions, contextlib.suppress(PlainstackError):
        sessions.to("db1")
    assert not other.asked_to_log_in


def test_jump_hosts_in_a_circle_are_refused(operator: Operator) -> None:
    operator.config("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\nHost 127.*\n  ProxyJump a\n")
    assert "is it a loop?" in operator.failure(operator.stack())


def test_an_unresolvable_jump_host_is_named(operator: Operator) -> None:
    operator.config("ProxyJump bastion.invalid\nHost bastion.invalid\n  ProxyJump none\n")
    reported = operator.failure(operator.stack())
    assert "bastion.invalid" in reported


def test_a_jump_host_that_forbids_forwarding_is_reported_with_the_setting(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("closed")
    with sshd.serving(folder, "AllowTcpForwarding no") as closed:
        shutil.copy(operator.host.folder / "operator.pub", folder / "operator.pub")
        operator.config(f"Host 127.*\n  ProxyJump closed\nHost closed\n  HostName 127.0.0.1\n  Port {closed.port}\n")
        reported = operator.failure(operator.stack(pins=operator.host.pin + closed.pin))
    assert reported == (
        f"db1: connect: jump host closed (127.0.0.1:{closed.port}) of ~/.ssh/config:2 does not forward connections"
        f" (AllowTcpForwarding) (127.0.0.1:{operator.host.port})"
    )


def test_fabrics_own_configuration_is_not_read(operator: Operator) -> None:
    (operator.home / ".fabric.yaml").write_text(
        f"gateway: {ME}@127.0.0.1:{operator.other.port}\nforward_agent: true\n", encoding="utf-8"
    )
    other = Watched(operator.other)
    assert operator.says(operator.stack()) == "hello"
    assert not other.connected


def test_in_the_lab_the_configuration_is_not_read(operator: Operator) -> None:
    operator.config("ProxyJump other\nProxyCommand nonsense\nNo option\n")
    stack = operator.stack(", gateway: lab")
    way = Ways(stack).to(stack.hosts["db1"])
    assert (way.jump, way.command, way.identities[0].agent) == (None, "", "")
    assert way.identities[0].files == (stack.state / "lab/id_ed25519",)


# --- proxy commands -------------------------------------------------------------------------------------------------

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


# --- other keywords of ~/.ssh/config --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "IdentityFile ~/.ssh/gone\nIdentityFile ~/.ssh/id_ed25519\n",
        "IdentityFile=%d/.ssh/id_%r\nIdentityFile %d/.ssh/%i\nIdentityFile ${HOME}/.ssh/id_ed25519\n",
        'Host 10.*\n  IdentityFile ~/.ssh/gone\nMatch exec "true"\n  IdentityFile "~/.ssh/id_ed25519"\n',
        "IdentityAgent none\nCertificateFile ~/.ssh/gone-cert.pub\n",
        "IdentityAgent ~/no.socket\nAddKeysToAgent yes\nHashKnownHosts yes\nStrictHostKeyChecking no\n",
        "UserKnownHostsFile /dev/null\nHostKeyAlias other\nCheckHostIP yes\nUser nobody\nPort 1\nLogLevel QUIET\n",
        "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist yes\nLocalForward 1 [::1]:1\nConnectTimeout 1\n",
        "Include conf.d/*\nInclude ~/nothing\nCanonicalizeHostname yes\n",
        "BindAddress 127.0.0.1\nGSSAPIAuthentication yes\nPreferredAuthentications password\nRequestTTY yes\n",
    ],
)
def test_a_configuration_that_ssh_accepts_is_accepted(operator: Operator, text: str) -> None:
    operator.config(text)
    assert operator.says(operator.stack()) == "hello"


def test_identitiesonly_limits_the_keys_to_the_named_ones(operator: Operator) -> None:
    stranger = operator.host.folder / "stranger"
    operator.config(f"IdentityFile {stranger}\nIdentitiesOnly yes\n")
    reported = operator.failure(operator.stack())
    assert reported == (f"db1: connect: login as {ME} was refused with {stranger} (127.0.0.1:{operator.host.port})")


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("Host *\n  Bogus yes\n", "~/.ssh/config: line 2: Bad configuration option: bogus"),
        ("Port abc\n", "~/.ssh/config line 1: Bad port 'abc'"),
        (
            "Host 127.*\n  ProxyJump 127.0.0.9\n",
            "~/.ssh/config:2: ssh refuses its configuration for 127.0.0.9: jump",
        ),
        (
            "Host 127.*\n  ProxyCommand nc %h %p\n  ProxyUseFdpass yes\n",
            "~/.ssh/config:3: proxyusefdpass is not supported",
        ),
        ("User x\nBindInterface lo\n", "~/.ssh/config:2: bindinterface is not supported"),
        ("\nPubkeyAuthentication no\n", "~/.ssh/config:2: PubkeyAuthentication is off for 127.0.0.1"),
        ("IdentityFile ~/.ssh/%C\n", "~/.ssh/config:1: identityfile: %C is not supported here. Write the value out"),
        (
            "IdentityFile ${NOT_THERE}/x\n",
            "~/.ssh/config:1: identityfile: the environment variable NOT_THERE is not set",
        ),
    ],
)
def test_an_unsupported_keyword_is_reported_with_its_line(operator: Operator, text: str, reported: str) -> None:
    operator.config(text)
    host = Watched(operator.host)
    assert reported in operator.failure(operator.stack())
    assert not host.connected


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("Host *\n  ForwardAgent yes\n", "~/.ssh/config:2: ForwardAgent has no effect: the agent is never forwarded"),
        ("HostName 192.0.2.1\n", "~/.ssh/config:1: HostName has no effect: the inventory sets the host's address"),
    ],
)
def test_a_keyword_without_effect_is_noted_once_with_its_line(operator: Operator, text: str, reported: str) -> None:
    operator.config(text)
    with Sessions(operator.stack()) as sessions:
        assert sessions.to("db1").run("echo $SSH_AUTH_SOCK").out == "\n"
        sessions.fresh("db1").close()
        assert sessions.notes == [reported]


def test_the_line_of_a_value_is_the_one_that_ssh_used(operator: Operator) -> None:
    more = operator.home / "more"
    more.write_text("Host 10.*\n  BindAddress 1.1.1.1\nMatch host 127.*\n  BindAddress 2.2.2.2\n", encoding="utf-8")
    operator.config(
        'Host 10.*\n  BindAddress 0.0.0.1\nMatch exec "false"\n  BindAddress 0.0.0.2\n'
        f"Match all\n  Include {more}\n  BindAddress 3.3.3.3\n"
    )
    config = resolve("127.0.0.1")
    assert (config.get("bindaddress"), config.where("bindaddress")) == ("2.2.2.2", "~/more:4")


def test_without_openssh_only_an_existing_configuration_is_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(operator.home))
    assert operator.says(operator.stack()) == "hello"
    operator.config("ProxyJump other\n")
    assert "~/.ssh/config" in operator.failure(operator.stack()).replace(str(operator.home), "~")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bastion", Destination("bastion")),
        ("me@bastion:2222", Destination("bastion", "me", 2222)),
        ("a@b@bastion", Destination("bastion", "a@b")),
        ("ssh://me@[fe80::1]:22", Destination("fe80::1", "me", 22)),
        ("[::1]", Destination("::1")),
    ],
)
def test_a_jump_host_is_written_as_for_ssh(text: str, parsed: Destination) -> None:
    assert Destination.parse(text) == parsed
    assert Destination.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "me@-x", "a b", "x:0", "x:99999", "x:y", "me@", "a,b"])
def test_an_invalid_jump_host_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a jump host"):
        Destination.parse(text)


def test_an_invalid_gateway_is_refused_with_its_line(operator: Operator) -> None:
    with pytest.raises(InventoryError, match=r"hosts\.yaml:2: ssh\.gateway: must be \[user@\]host\[:port\]"):
        operator.stack(", gateway: 'me@-oX'")


@pytest.mark.parametrize("gateway", ["other", "other,far"])
def test_the_key_in_the_inventory_is_offered_first_to_a_jump_host_and_then_the_agents(
    operator: Operator, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent may have any number of keys, but a server disconnects after six."""
    operator.config("")
    key = operator.home / ".ssh/id_ed25519"
    key.rename(operator.home / "key")
    with sshd.agent(operator.home / "agent") as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        for number in range(8):
            sshd.make_key(operator.home / f"key{number}")
            sshd.add_to_agent(operator.home / f"key{number}")
        pins = "".join(server.pin for server in (operator.host, operator.other, operator.far))
        assert operator.says(operator.stack(f", gateway: '{gateway}', key: {operator.home}/key", pins)) == "hello"
