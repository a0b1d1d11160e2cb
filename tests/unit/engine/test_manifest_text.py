"""The text of manifests: hosts keep manifests from older versions, so the meaning of the text must never change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plainstack.engine.kinds import group, path_state, sysctl, unit
from plainstack.engine.kinds.path_state import ABSENT, Left, State
from plainstack.engine.observed import Entry

SHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def of(kind: str, text: str) -> Entry:
    return Entry(kind, "name", text)


@pytest.mark.parametrize(
    ("kind", "text", "parse", "value"),
    [
        ("file", f"{SHA} 0640 app:adm", Left.of, Left(State("file", "0640", "app:adm", SHA))),
        ("file", "absent", Left.of, Left(ABSENT)),
        ("file", "special file 0666 root:root", Left.of, Left(State("special file", "0666", "root:root"))),
        ("link", "-> /usr/share/zoneinfo/Etc/UTC", Left.of, Left(State("link", target="/usr/share/zoneinfo/Etc/UTC"))),
        ("link", "-> a place -> another purge", Left.of, Left(State("link", target="a place -> another purge"))),
        ("directory", "directory 0755 root:root", Left.of, Left(State("directory", "0755", "root:root"))),
        ("directory", "directory 0755 a:b purge", Left.of, Left(State("directory", "0755", "a:b"), purge=True)),
        ("timer", f"{SHA} 0644 root:root", Left.of, Left(State("file", "0644", "root:root", SHA))),
        ("unit", "enabled,running", unit.Kept.of, unit.Kept(enabled=True, running=True)),
        ("unit", "disabled,stopped", unit.Kept.of, unit.Kept(enabled=False, running=False)),
        ("sysctl", "1 was 0", sysctl.Kept.of, sysctl.Kept("1", "0")),
        ("sysctl", "4096 87380 was 4096 16384", sysctl.Kept.of, sysctl.Kept("4096 87380", "4096 16384")),
        ("group", "created *", group.Kept.of, group.Kept("created", None)),
        ("group", "found a,b", group.Kept.of, group.Kept("found", frozenset("ab"))),
        ("group", "created ,", group.Kept.of, group.Kept("created", frozenset())),
    ],
)
def test_a_state_survives_writing_and_reading(
    kind: str, text: str, parse: Callable[[Entry], object], value: object
) -> None:
    assert parse(of(kind, text)) == value
    assert str(value) == text


def test_a_path_state_in_an_unknown_format_never_equals_an_observed_one() -> None:
    seen = path_state.State.seen(None)
    for text in ("", "x", "x y", "directory"):
        assert Left.of(of("file", text)).state != seen
