"""The state folder: what Plainstack keeps about stacks in the folder of their inventory, some of it secret."""

from __future__ import annotations

from pathlib import Path

NAME = ".plainstack"


def make(folder: Path) -> None:
    """Make a folder, unless it exists; if it is in a state folder, git ignores that from the beginning."""
    root = next((one for one in (folder, *folder.parents) if one.name == NAME), None)
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
        ignore = root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
