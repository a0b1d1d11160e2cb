"""Jump hosts: which are used, that each is pinned before anything is sent to it, and how an inventory names them."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from plainstack.errors import InventoryError, PlainstackError, Refused
from plainstack.inventory.destination import Destination
from plainstack.ssh import pinning
from plainstack.ssh.connections import Sessions
from plainstack.ssh.ways import Ways
from tests import sshd
from tests.unit.ssh.operators import ME, Operator, Watched

pytestmark = [
    pytest.mark.programs,
    sshd.needed,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client"),
]


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
