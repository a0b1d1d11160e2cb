"""The rendered files of one host of each kind, stored as golden/<host>/<path on the host> for reviews.

After an intended change, regenerate them and review the output of git diff:

    UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/unit/test_golden.py

golden/<host>/CONTENTS lists the host's resources, with the modes and owners of files. Files that are taken
verbatim from files/ appear only in that list. Secrets are the fake ones of conftest.py.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack import shipped
from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import Command, Directory, File, Link, Package, Unit, User
from tests.inventories import load

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
STACK = load(Path(__file__).parents[2] / "hosts.yaml")
# The first host of each set of roles.
FIRST = {host.roles: host.name for host in reversed(STACK.hosts.values())}
HOSTS = sorted(FIRST.values())
CONTENTS = "CONTENTS"
VERBATIM = {path.read_bytes() for path in shipped.FILES.rglob("*") if path.is_file()}


def contents(wanted: HostDesired) -> str:
    """Return the host's resources by role, one line each: file modes, links, accounts, packages, units and commands."""
    lines = []
    for role, resources in wanted.items():
        if resources:
            lines.append(f"# {role}")
        for item in resources:
            if isinstance(item, File):
                secret = " (secret)" if item.secret else ""
                lines.append(f"{item.key} {item.mode:04o} {item.owner}:{item.group}{secret}")
            elif isinstance(item, Directory):
                lines.append(f"{item.key} {item.mode:04o} {item.owner}:{item.group}")
            elif isinstance(item, Link):
                lines.append(f"{item.key} -> {item.target}")
            elif isinstance(item, Unit):
                state = f"{'enabled' if item.enabled else 'disabled'}, {'running' if item.running else 'stopped'}"
                lines.append(f"{item.key} {state}{', guarded' if item.guarded else ''}")
            elif isinstance(item, Command):
                # The IDs of releases change with the application's code, which these tests do not cover.
                lines.append(f"{item.key}: {re.sub(r'[0-9a-f]{12}', 'ID', item.why)}")
            elif isinstance(item, Package | User):
                lines.append(item.key)
    return "\n".join(lines) + "\n"


def rendered(wanted: HostDesired) -> dict[str, bytes]:
    """Return the contents of a host's rendered files by path, and the list of its resources."""
    files = {item.path: item.content for resources in wanted.values() for item in resources if isinstance(item, File)}
    made = {path: content for path, content in files.items() if content not in VERBATIM}
    return {**made, f"/{CONTENTS}": contents(wanted).encode()}


@pytest.mark.parametrize("host", HOSTS)
def test_rendered_files_match_the_golden_ones(host: str, desired: Mapping[str, HostDesired]) -> None:
    files = rendered(desired[host])
    tree = GOLDEN / host
    if UPDATE:
        shutil.rmtree(tree, ignore_errors=True)
        for path, content in files.items():
            golden = tree / path.lstrip("/")
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_bytes(content)
    kept = {f"/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    lines: list[str] = []
    for path in sorted({*files, *kept}):
        before, after = (each.get(path, b"").decode(errors="replace").splitlines() for each in (kept, files))
        lines += difflib.unified_diff(before, after, f"golden {path}", f"rendered {path}", lineterm="")
    assert kept == files, "\n".join(lines)


def test_golden_files_are_kept_for_one_host_of_each_kind(desired: Mapping[str, HostDesired]) -> None:
    for host in STACK.hosts.values():
        assert rendered(desired[host.name]).keys() == rendered(desired[FIRST[host.roles]]).keys(), host.name


def test_every_golden_tree_belongs_to_a_host_that_is_tested() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(HOSTS)
