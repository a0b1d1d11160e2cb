"""What `inv drift` reports about a path that changed after Plainstack wrote it."""

from __future__ import annotations

import pytest

from plainstack.engine.kinds.paths import state_of
from plainstack.engine.observed import Entry, Observed, PathState
from plainstack.engine.plan import drift
from plainstack.engine.resources import Directory, File
from tests.unit.hosts import sha

CONF = File(path="/etc/app.conf", content=b"port = 1\n")
FOLDER = Directory(path="/etc/app")


def reported(left: File | Directory, seen: PathState | None) -> list[str]:
    kind = "file" if isinstance(left, File) else "directory"
    entry = Entry(kind, left.path, state_of(left), "2026-01-01T00:00:00Z", "me@here", "abc")
    observed = Observed(paths={left.path: seen} if seen else {}, manifest={"app": (entry,)})
    return [found.described() for found in drift.find("db1", {"app": [left]}, observed)]


@pytest.mark.parametrize(
    ("left", "seen", "what"),
    [
        (CONF, None, "was removed"),
        (CONF, PathState("file", 0o644, "root", "root", sha(b"by hand")), "content changed"),
        (CONF, PathState("file", 0o666, "root", "root", CONF.sha256), "mode 0644 became 0666"),
        # /dev/null is mounted over the file, a common way to disable a program.
        (CONF, PathState("special file", 0o666, "root", "root"), "is a special file now, mode 0644 became 0666"),
        (CONF, PathState("directory", 0o644, "app", "root"), "is a directory now, owner root:root became app:root"),
        (FOLDER, PathState("file", 0o755, "root", "root", sha(b"")), "is a file now"),
        (FOLDER, PathState("special file", 0o755, "root", "root"), "is a special file now"),
    ],
)
def test_every_change_of_a_path_is_reported(left: File | Directory, seen: PathState | None, what: str) -> None:
    assert reported(left, seen) == [f"{left.key}: {what}"]


def test_an_unchanged_path_is_not_reported() -> None:
    assert reported(CONF, PathState("file", 0o644, "root", "root", CONF.sha256)) == []
