"""Which keywords of the operator's SSH configuration are followed, noted and refused."""

from __future__ import annotations

import shutil

import pytest

from plainstack.ssh.config import resolve
from plainstack.ssh.connections import Sessions
from tests import sshd
from tests.unit.ssh.operators import ME, Operator, Watched

pytestmark = [
    pytest.mark.programs,
    sshd.needed,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client"),
]


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
