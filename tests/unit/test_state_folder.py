"""Git ignores the state folder, whichever command makes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from plainstack import state_folder

ROOT = Path(state_folder.__file__).parent


@pytest.mark.programs
def test_git_ignores_whatever_is_in_a_state_folder(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    place = tmp_path / ".plainstack/shop/lab"
    state_folder.make(place)
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "id_ed25519").touch()
    seen = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert seen.stdout == ""


def test_a_changed_gitignore_is_kept(tmp_path: Path) -> None:
    state_folder.make(tmp_path / ".plainstack/shop")
    ignore = tmp_path / ".plainstack/.gitignore"
    ignore.write_text("shop/\n", encoding="utf-8")
    state_folder.make(tmp_path / ".plainstack/shop")
    assert ignore.read_text(encoding="utf-8") == "shop/\n"


def test_another_folder_gets_no_gitignore(tmp_path: Path) -> None:
    state_folder.make(tmp_path / "cache/wheels")
    assert [path.name for path in tmp_path.rglob("*")] == ["cache", "wheels"]


def test_no_module_makes_a_folder_in_the_state_folder_by_itself() -> None:
    """Modules that use the state folder have no mkdir of their own, except those named here, for other folders."""
    made = re.compile(r"\.mkdir\(")
    uses = re.compile(r"\bstack\.state\b|\blab\.state\b|\bstate_folder\b|known_hosts\(stack\)")
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if uses.search(text := path.read_text(encoding="utf-8")) and made.search(text)
    }
    # The lab's owner and snapshots are in folders of the machine, and wheels are collected in a temporary folder.
    assert found == {"lab/snapshot.py", "services/wheels.py", "ssh/lab_owner.py"}
