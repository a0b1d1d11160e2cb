"""Merging two layers of an overlay changes nothing that the overlay shows, wherever the merge is interrupted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plainstack.lab import merge

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount an overlay"),
]

MOUNT = """
set -eu
mount -t overlay -o "redirect_dir=on,index=off,metacopy=off,lowerdir=$2,upperdir=$1/upper,workdir=$1/work" lab "$1/root"
cd "$1/root"
"""
LISTED = "find . -printf '%P %y %m %l\\n' | sort; find . -type f | sort | xargs grep ''"


class Stack:
    """Folders below each other, as the layers of a host are: the image, and what the host wrote after each save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layers: list[Path] = []
        (folder / "image").mkdir(parents=True)
        self.saved()

    def saved(self) -> None:
        """Begin a layer."""
        for name in ("upper", "work", "root"):
            (self.folder / str(len(self.layers)) / name).mkdir(parents=True)
        self.layers.insert(0, self.folder / str(len(self.layers)))

    def run(self, script: str, layers: list[Path] | None = None) -> str:
        """Run a script in the overlay of these layers, by default of all; the topmost is written."""
        top, *below = layers or self.layers
        lowers = ":".join(str(path) for path in (*(one / "upper" for one in below), self.folder / "image"))
        words = ["unshare", "--mount", "sh", "-c", MOUNT + script, "sh", str(top), lowers]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def stack() -> Callable[[Path], Stack]:
    def make(folder: Path) -> Stack:
        made = Stack(folder)
        for name in ("gone", "again", "kept", "file", "other", "twice", "lab"):
            (folder / "image" / name / "deep").mkdir(parents=True)
            (folder / "image" / name / "deep/text").write_text(f"image {name}")
        # Each line meets another case in the layers above.
        made.run("""
            rm -r gone; rm -r again; mkdir again; echo new >again/new
            echo lower >kept/lower; echo lower >kept/both; echo lower >kept/deep/text; chmod 700 kept
            rm -r file; echo text >file; rm -r lab
            rm -r twice; mkdir -p twice/deep only/deep; echo only >only/deep/text; ln -s only link
            ln only/deep/text hard
        """)
        made.saved()
        made.run("""
            echo upper >kept/both; rm kept/deep/text; mkdir gone; echo back >gone/back
            echo upper >again/upper; rm file; mkdir file; echo folder >file/folder
            rm -r twice; mkdir twice; rm -r other; echo other >other; chmod 711 kept; rm only/deep/text
        """)
        # The lab writes its own files to a disk that is not mounted.
        (made.layers[0] / "upper/lab").mkdir()
        (made.layers[0] / "upper/lab/file").write_text("of the lab")
        return made

    return make


def test_an_overlay_shows_the_same_after_each_step_of_a_merge(
    stack: Callable[[Path], Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stack(tmp_path / "whole")
    above, below = made.layers
    wanted = made.run(LISTED)
    assert "gone/back f" in wanted
    assert "twice/deep" not in wanted
    assert "lab/deep" not in wanted
    assert merge.possible(above / "upper")
    assert merge.possible(below / "upper")
    modified = (above / "upper/kept").stat().st_mtime_ns
    merge.lift(below / "upper", above / "upper")
    assert made.run(LISTED) == wanted
    assert made.run(LISTED, [above]) == wanted, "without the lower layer"
    assert (above / "upper/kept").stat().st_mtime_ns == modified

    def killed_at(number: int) -> bool:
        """Merge a stack of the same layers, killed at a step. Return whether it came to that step."""
        made = stack(tmp_path / str(number))
        above, below = made.layers
        left = iter(range(number))
        with monkeypatch.context() as patched:
            for place, name in ((Path, "rename"), (os, "setxattr")):
                patched.setattr(place, name, allowed(left, getattr(place, name)))
            try:
                merge.lift(below / "upper", above / "upper")
            except StopIteration:
                killed = True
            else:
                killed = False
        assert made.run(LISTED) == wanted
        merge.lift(below / "upper", above / "upper")
        assert made.run(LISTED, [above]) == wanted
        return killed

    steps = next(number for number in range(1000) if not killed_at(number))
    assert steps > 5


def allowed(left: Iterator[int], act: Callable[..., object]) -> Callable[..., object]:
    """Return a function that acts until nothing is left, and then raises StopIteration."""

    def step(*arguments: object) -> object:
        next(left)
        return act(*arguments)

    return step


def test_a_layer_with_a_renamed_folder_is_not_merged(stack: Callable[[Path], Stack], tmp_path: Path) -> None:
    made = stack(tmp_path / "renamed")
    made.run("mv kept moved; cat moved/lower")
    assert not merge.possible(made.layers[0] / "upper")
