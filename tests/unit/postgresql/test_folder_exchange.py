"""A folder is exchanged on the service's host: interrupted anywhere and typed again, nothing is lost."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import exchange
import pytest
from exchange import Place, Refused


class Interrupted(BaseException):
    """The operator's process, or the host, died."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    me = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: me)
    monkeypatch.setattr(os, "sync", lambda: None)
    (tmp_path / "media").mkdir()
    (tmp_path / "media/file").write_text("today")
    return Place(tmp_path, "media", "app-web")


def restore(place: Place, snapshot: str = "S1", text: str = "earlier") -> str:
    """Do what `inv restore --files` does, the copying included."""
    name, copied = exchange.prepare(place, "R1", snapshot, 10)
    if not copied:
        (place.new / "file").write_text(text)
    exchange.swap(place, name)
    place.finish()
    return name


def undo(place: Place) -> str:
    name = exchange.undo(place)
    place.finish()
    return name


def content(folder: Path) -> str:
    return (folder / "file").read_text()


def interrupted(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], after: int) -> bool:
    """Do some work, and interrupt it before change number `after`; return whether there was one."""
    left = after

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def do(*words: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise Interrupted
            left -= 1
            return real(*words, **named)

        return do

    with monkeypatch.context() as broken:
        for target, name in (
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (Path, "unlink"),
            (exchange, "exchange"),
        ):
            broken.setattr(target, name, counting(getattr(target, name)))
        try:
            work()
        except Interrupted:
            return True
    return False


def test_the_files_come_back_and_the_present_ones_are_kept(place: Place) -> None:
    restore(place)
    assert content(place.target) == "earlier"
    assert content(place.stage / "before-R1") == "today"
    assert undo(place) == "R1"
    assert content(place.target) == "today"
    assert content(place.stage / "undone-R1") == "earlier"
    with pytest.raises(Refused, match="nothing to undo"):
        undo(place)
    assert len(list(exchange.discard(place))) == 1
    assert [path.name for path in place.stage.iterdir()] == []


@pytest.mark.parametrize("after", range(12))
def test_a_restore_that_was_interrupted_ends_well_when_it_is_typed_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    interrupted(monkeypatch, lambda: restore(place), after)
    restore(place)
    assert content(place.target) == "earlier"
    assert "today" in {content(place.stage / f"before-{one}") for one in place.kept()}
    assert place.request() == {}


@pytest.mark.parametrize("after", range(12))
def test_an_interrupted_restore_can_be_undone_at_any_point(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    broken = interrupted(monkeypatch, lambda: restore(place), after)
    if broken and not place.request() and not place.kept():
        # Nothing was begun.
        assert content(place.target) == "today"
        return
    undo(place)
    assert content(place.target) == "today"
    assert place.kept() == []
    assert restore(place) == "R1"
    assert content(place.target) == "earlier"


@pytest.mark.parametrize("after", range(6))
def test_undoing_can_be_interrupted_and_typed_again(place: Place, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    restore(place)
    interrupted(monkeypatch, lambda: undo(place), after)
    if place.request() or place.kept():
        undo(place)
    assert content(place.target) == "today"
    assert content(place.stage / "undone-R1") == "earlier"


def test_another_snapshot_does_not_mix_with_one_that_was_being_copied(place: Place) -> None:
    assert exchange.prepare(place, "R1", "S1", 10) == ("R1", False)
    assert exchange.prepare(place, "R2", "S1", 10) == ("R2", False)
    assert exchange.prepare(place, "R3", "S2", 10) == ("R3", False)
    (place.new / "file").write_text("second")
    place.record(inode=place.new.lstat().st_ino)
    place.new.rename(place.ready)
    with pytest.raises(Refused, match="R3 has not finished"):
        exchange.prepare(place, "R4", "S1", 10)
    assert exchange.prepare(place, "R4", "S2", 10) == ("R3", True)


def test_what_cannot_be_exchanged_is_refused_before_anything_is_copied(place: Place, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the disk is too full"):
        exchange.prepare(place, "R1", "S1", 2**60)
    place.target.rename(tmp_path / "elsewhere")
    place.target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is not a folder"):
        exchange.prepare(place, "R1", "S1", 10)
    assert not place.stage.exists()
