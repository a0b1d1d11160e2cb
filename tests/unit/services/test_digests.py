"""The digests of a large source: never taken from the cache when a file could have changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plainstack.services import digests, source

OLD = 1_000_000_000
# Nanoseconds; the clock of Linux's file systems moves on in steps of at most 10 ms.
TICK = 12_000_000


@pytest.fixture(autouse=True)
def every_source_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_WORTHWHILE", 1)


@pytest.fixture
def tree() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def read(folder: Path, place: Path) -> dict[str, str]:
    return {file.inside: digest for file, digest in digests.digests(source.walk(folder).files, place)}


def truth(folder: Path) -> dict[str, str]:
    found = source.walk(folder).files
    return {file.inside: sha256(Path(file.path).read_bytes()).hexdigest() for file in found}


def waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as one that was written long ago."""
    monkeypatch.setattr(digests, "_RESOLUTION", -(10**18))


NAMES = st.sampled_from(["a", "b", "d/c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.sampled_from([b"1", b"2", b"33"])),
        st.tuples(st.just("write, keeping the time"), NAMES, st.sampled_from([b"1", b"2", b"33"])),
        st.tuples(st.just("remove"), NAMES, st.just(b"")),
        st.tuples(st.just("swap"), NAMES, st.just(b"")),
        st.tuples(st.just("link"), NAMES, st.just(b"")),
        st.tuples(st.sampled_from(["read", "read later"]), st.just(""), st.just(b"")),
    ),
    max_size=10,
)


def later(scratch: str) -> None:
    """Return when the clock of the file system has moved on by more than the resolution."""
    clock = Path(scratch, "clock")
    clock.touch()
    began = clock.stat().st_mtime_ns
    while clock.stat().st_mtime_ns <= began + 2 * TICK:
        clock.touch()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_digests_are_always_those_of_the_content(steps: list[tuple[str, str, bytes]]) -> None:
    """Most steps follow the previous one within the same tick of the file system's clock."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(digests, "_RESOLUTION", TICK)
        folder, place = Path(scratch, "src"), Path(scratch, "cache")
        (folder / "d").mkdir(parents=True)
        for what, name, content in [*steps, ("read", "", b"")]:
            path = folder / name
            if what.startswith("write"):
                times = path.stat() if path.exists() else None
                path.write_bytes(content)
                if times and what != "write":
                    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            elif what == "remove":
                path.unlink(missing_ok=True)
            elif what == "swap" and path.exists() and (folder / "a").exists():
                path.rename(folder / "other")
                (folder / "a").rename(path) if name != "a" else None
                (folder / "other").rename(folder / "a")
            elif what == "link" and not path.exists() and (folder / "b").exists():
                os.link(folder / "b", path)
            elif what.startswith("read"):
                if what == "read later":
                    later(scratch)
                assert read(folder, place) == truth(folder)


def test_a_file_that_was_just_written_is_not_kept(tree: Path) -> None:
    (tree / "a").write_bytes(b"1")
    read(tree, tree.parent / "cache")
    assert not (tree.parent / "cache").exists()


def test_an_unchanged_file_is_not_read_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "a").write_bytes(b"1")
    place = tmp_path / "x" / "cache"
    waited(monkeypatch)
    before = read(tree, place)
    monkeypatch.setattr(digests, "sha256", lambda _: pytest.fail("a file was read"))
    assert read(tree, place) == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": [1, 2, 3, 4, 5, 6]}', b"\xff", b"[" * 10**5]
)
def test_a_damaged_cache_is_ignored(tree: Path, tmp_path: Path, content: bytes) -> None:
    (tree / "a").write_bytes(b"1")
    (tmp_path / "cache").write_bytes(content)
    assert read(tree, tmp_path / "cache") == truth(tree)


def test_a_cache_that_cannot_be_written_changes_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a").write_bytes(b"1")
    (tmp_path / "file").touch()
    waited(monkeypatch)
    assert read(tree, tmp_path / "file" / "cache") == truth(tree)


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_only_a_time_well_in_the_past_is_settled(modified: int, changed: int, now: int) -> None:
    settled = digests.settled((1, modified, changed, 1, 1), now)
    assert settled == (now - max(modified, changed) > 3 * OLD)
