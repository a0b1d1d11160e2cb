"""Removing folders removes all that is in them and nothing outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.lab import trees


def test_folders_are_removed_with_everything_in_them_and_nothing_outside(tmp_path: Path) -> None:
    for folder in ("one/deep/er", "one/empty", "two", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("one/file", "one/deep/er/file", "two/file", "outside/file"):
        (tmp_path / file).touch()
    for link, target in {"one/out": "../outside", "one/deep/gone": "nowhere", "two/file_too": "file"}.items():
        (tmp_path / link).symlink_to(target)
    trees.remove(tmp_path / name for name in ("one", "two"))
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "outside", tmp_path / "outside/file"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trees.remove([tmp_path / "nowhere"])
