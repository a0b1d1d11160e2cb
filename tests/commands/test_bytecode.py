"""Python caches the bytecode of Plainstack's modules, but not that of the modules in a stack's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.test_streams import ROOT, TEXT
from tests.waiting import PATIENCE

ROLE = '''"""A role of one's own."""

from _words import NAME

from plainstack.engine.role import Role

ROLE = Role(name=NAME, desired=lambda *_: ())
'''


def cached(folder: Path, *words: str, **settings: str) -> set[str]:
    """Run `inv` and return the files that it caches the bytecode of."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    place = folder.with_name("bytecode")
    subprocess.run(
        [str(Path(sys.executable).with_name("inv")), *words],
        cwd=ROOT,
        env={**kept, "PYTHONPYCACHEPREFIX": str(place), **settings},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return {f"/{path.relative_to(place).with_name(path.name.partition('.')[0])}.py" for path in place.rglob("*.pyc")}


def test_commands_cache_the_bytecode_of_all_their_modules(tmp_path: Path) -> None:
    assert {f"{ROOT}/plainstack/cli/{name}.py" for name in ("inv", "lab_tasks")} <= cached(tmp_path / "stack", "--list")


def test_python_can_be_told_to_cache_no_bytecode(tmp_path: Path) -> None:
    assert not [
        path for path in cached(tmp_path / "stack", "--list", PYTHONDONTWRITEBYTECODE="1") if "plainstack" in path
    ]


def test_the_bytecode_of_a_stacks_own_roles_is_not_cached(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    (folder / "roles").mkdir(parents=True)
    (folder / "roles/stash.py").write_text(ROLE, encoding="utf-8")
    (folder / "roles/_words.py").write_text("NAME = 'stash'\n", encoding="utf-8")
    (folder / "hosts.yaml").write_text(
        TEXT.replace("[app]", "[app, stash]").replace("SOURCE", f"{ROOT}/apps/incidents")
    )
    found = cached(folder, "roles", f"--inventory={folder}/hosts.yaml")
    assert f"{ROOT}/plainstack/roles/own.py" in found
    assert not [path for path in found if path.startswith(str(folder))]
