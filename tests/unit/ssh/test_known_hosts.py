"""Pinned host keys: every way to write a name, and how `inv trust` handles a host whose key has changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.ssh import connections, pinning
from plainstack.ssh.connections import Sessions
from plainstack.ssh.known_hosts import Pins, entry_name
from tests import sshd
from tests.sshd import Server


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with two host keys, one of them RSA, and make an unrelated RSA key."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host_rsa", "stranger_rsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", folder / name], check=True)
    with sshd.serving(folder, f"HostKey {folder}/host_rsa") as server:
        yield server


def public(server: Server, name: str) -> str:
    return " ".join((server.folder / f"{name}.pub").read_text(encoding="utf-8").split()[:2])


def hashed(text: str, folder: Path) -> str:
    """Return the lines as `HashKnownHosts yes` writes them; ssh-keygen hashes them."""
    path = folder / "to_hash"
    path.write_text(text, encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    return path.read_text(encoding="utf-8")


def trusted(stack: Stack) -> list[str]:
    """Pin every key; return the changes in words."""
    changes = [change for found in pinning.rounds(stack, lambda _: None) for change in found.changes]
    pinning.pin(stack, changes)
    return [change.described() for change in changes]


def connects(stack: Stack) -> bool:
    try:
        with Sessions(stack) as sessions:
            return sessions.to("db1").run("true").code == 0
    except HostFailed:
        return False


@pytest.mark.programs
@sshd.needed
@pytest.mark.parametrize(
    "pins",
    [
        "{entry} {stranger}",
        "{hashed}",
        "{hashed}{entry} {key}",
        "{entry} {key}\n{hashed}",
        "{entry},other {stranger}",
        "other,{entry},third {stranger} a comment",
        "{entry} {rsa}\n{entry} {stranger}",
        "{entry} {stranger_rsa}\n{entry} {key}",
        "  {entry}\t{stranger}\n# {entry} in a comment\n\n{entry} {stranger}",
        "@revoked {entry} {stranger}\n{entry} ssh-unknown AAAA\n",
        "",
    ],
)
def test_after_trust_a_host_is_reachable_and_trust_has_nothing_to_do(both: Server, tmp_path: Path, pins: str) -> None:
    """This holds whatever was pinned before, and however its line was written."""
    entry = entry_name("127.0.0.1", both.port)
    stranger = public(both, "stranger")
    known = {
        "entry": entry,
        "key": public(both, "host"),
        "rsa": public(both, "host_rsa"),
        "stranger": stranger,
        "stranger_rsa": public(both, "stranger_rsa"),
        "hashed": hashed(f"{entry} {stranger}\n", tmp_path),
    }
    bystander = f"10.0.0.9 {stranger}\n"
    stack = both.stack(tmp_path, pin=f"{pins.format(**known)}\n{bystander}")
    reported = trusted(stack)
    assert connects(stack)
    assert trusted(stack) == []
    text = connections.known_hosts(stack).read_text(encoding="utf-8")
    assert bystander in text
    assert ("other" in pins) == any(line.startswith("other") and stranger in line for line in text.splitlines())
    assert all("CHANGED from" in line or "new key" in line for line in reported)


@pytest.mark.programs
@sshd.needed
@pytest.mark.parametrize("kind", ["host", "host_rsa"])
def test_a_correct_pin_is_kept_whatever_its_type(both: Server, tmp_path: Path, kind: str) -> None:
    entry = entry_name("127.0.0.1", both.port)
    for text in (f"{entry} {public(both, kind)}\n", hashed(f"{entry} {public(both, kind)}\n", tmp_path)):
        stack = both.stack(tmp_path, pin=text)
        assert trusted(stack) == []
        assert connects(stack)
        assert connections.known_hosts(stack).read_text(encoding="utf-8") == text


def test_the_error_names_a_line_that_is_not_a_key(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("10.0.0.1 ssh-ed25519 AAAAnonsense\n10.0.0.2 ssh-ed25519 !\n", encoding="utf-8")
    with pytest.raises(Refused, match=r"known_hosts:1: not a host key .*. Remove the line, then run: inv trust"):
        Pins.read(path).keys("10.0.0.1")
    with pytest.raises(Refused, match=r"known_hosts:2: not a host key"):
        Pins.read(path).keys("10.0.0.2")
    assert Pins.read(path).keys("10.0.0.3") == {}


def test_an_unreadable_file_is_reported_and_a_missing_one_pins_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the pinned host keys cannot be read"):
        Pins.read(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="the pinned host keys cannot be read"):
        Pins.read(tmp_path / "binary")
    assert Pins.read(tmp_path / "nowhere").keys("10.0.0.1") == {}


@given(st.lists(st.text("|1@#,= \tab/+-[]:", max_size=30), max_size=6))
def test_lines_of_other_programs_are_kept_and_ignored(lines: list[str]) -> None:
    pins = Pins(Path("known_hosts"), tuple(lines))
    assert pins.keys("10.0.0.1") == {}
    assert pins.replaced({}) == "".join(f"{line}\n" for line in lines)
