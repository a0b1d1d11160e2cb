"""Builds on the operator's machine: when they run, what a failing one prints, and what must be there afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from plainstack.errors import InventoryError, Refused
from plainstack.inventory.stack import Stack
from plainstack.services import local_build, release
from tests import inventories
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.programs

TEXT = """
stack: small
hosts: {{a: {{address: 10.0.0.2, roles: [app]}}, w: {{address: 10.0.0.3, roles: [worker]}}}}
services:
  tool:
    kind: binary
    source: src
    build: {build}
    processes: {{run: {{command: tool}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "tool").write_text("one\n")
    return tmp_path


def stack(folder: Path, build: str) -> Stack:
    return inventories.parse(TEXT.format(build=build), "test.yaml", folder)


def built(found: Stack) -> list[str]:
    """Run the builds that are due, and return what is announced."""
    said: list[str] = []
    local_build.run(found, ["tool"], said.append)
    return said


COUNTED = "{local: 'mkdir -p dist && date +%s%N >dist/at && echo run >>../log', output: [dist]}"


def runs(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def test_a_build_runs_when_its_source_has_changed_and_says_so(folder: Path) -> None:
    found = stack(folder, COUNTED)
    (said,) = built(found)
    assert said.startswith("tool: running mkdir -p dist && date")
    assert said.endswith(f"in {folder}/src (it has not been built here)")
    assert built(found) == []
    (folder / "src" / "tool").write_text("two\n")
    assert built(found)[0].endswith("(its source has changed since it was built)")
    assert built(found) == []
    assert runs(folder) == 2


@pytest.mark.parametrize("change", ["output removed", "output edited", "hidden file", "command", "state lost"])
def test_a_change_of_any_input_or_output_makes_a_build_due_again(folder: Path, change: str) -> None:
    (folder / "src" / ".babelrc").write_text("{}")
    built(stack(folder, COUNTED))
    if change == "output removed":
        (folder / "src/dist/at").unlink()
    elif change == "output edited":
        (folder / "src/dist/at").write_text("by hand")
    elif change == "hidden file":
        (folder / "src/.babelrc").write_text("{1}")
    elif change == "state lost":
        (folder / ".plainstack/small/builds/tool.json").write_text("{")
    command = COUNTED.replace("mkdir -p", "mkdir -p -m 755") if change == "command" else COUNTED
    built(stack(folder, command))
    assert runs(folder) == 2


def test_the_output_of_a_build_is_part_of_the_release(folder: Path) -> None:
    found = stack(folder, "{local: echo made >made}")
    before = release.read(found, "tool").id
    built(found)
    here = release.read(found, "tool")
    assert "source/made" in dict(here.source.files)
    assert here.id != before


def test_a_failed_build_ends_the_command_with_its_last_output(folder: Path) -> None:
    found = stack(folder, "{local: 'for n in $(seq 30); do echo line $n; done; exit 3'}")
    with pytest.raises(Refused) as error:
        built(found)
    first, *lines = str(error.value).splitlines()
    assert first.startswith("services.tool.build.local: for n in $(seq 30)")
    assert "failed with exit code 3" in first
    assert [lines[0], lines[-1]] == ["    line 16", "    line 30"]
    # It is still due.
    assert [name for name, _ in local_build.due(found, ["tool"])] == ["tool"]


def test_a_build_that_hangs_is_killed_with_its_children(folder: Path) -> None:
    found = stack(folder, "{local: 'sleep 300 & echo $! >../child; wait', timeout: 2}")
    began = time.monotonic()
    with pytest.raises(Refused, match="did not finish within 2 s"):
        built(found)
    assert time.monotonic() - began < PATIENCE
    state = Path(f"/proc/{(folder / 'child').read_text().strip()}/stat")

    def ended() -> bool:
        try:
            return state.read_text().split()[2] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    until(ended)


@pytest.mark.parametrize(
    ("output", "made"), [("dist", "true"), ("dist", "mkdir dist"), ("venv", "mkdir venv; >venv/x")]
)
def test_output_that_a_release_leaves_out_is_reported(folder: Path, output: str, made: str) -> None:
    with pytest.raises(Refused, match=f"no file that a release contains is at {output}"):
        built(stack(folder, f"{{local: '{made}', output: [{output}]}}"))


def test_a_build_needs_a_folder(folder: Path) -> None:
    with pytest.raises(InventoryError, match=r"test.yaml:8: services.tool.build.local: needs a folder as its source"):
        inventories.parse(
            TEXT.format(build="{local: make}").replace("source: src", "source: src/tool"), "test.yaml", folder
        )


@pytest.mark.parametrize(
    ("hosts", "scope", "wanted"),
    [(["a", "w"], None, True), (["w"], None, False), (["a"], ["app", "base"], True), (["a"], ["balancer"], False)],
)
def test_only_services_that_are_deployed_are_built(
    folder: Path, hosts: list[str], scope: list[str] | None, wanted: bool
) -> None:
    assert local_build.wanted(stack(folder, "{local: make}"), hosts, scope) == (["tool"] if wanted else [])
    assert local_build.wanted(stack(folder, "{}"), hosts, scope) == []
