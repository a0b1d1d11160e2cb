"""The Python of a service: Debian's by default, or another one, with wheels and environment made for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.engine.resources import Command
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.services import pythons, release, wheels
from plainstack.services.release_steps import put_in_place
from tests import inventories

TEXT = """
stack: small
hosts: {{a: {{address: 10.0.0.2, roles: [app]}}}}
services:
  api:
    kind: python
    source: src
    processes: {{run: {{command: serve}}}}
    {keys}
"""
PATH = "/opt/python3.12/bin/python3.12"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "requirements.txt").write_text("a==1 --hash=sha256:00 ; python_version < '3.13'\n")
    return tmp_path


def stack(folder: Path, keys: str = f"python: {PATH}") -> Stack:
    return inventories.parse(TEXT.format(keys=keys), "test.yaml", folder)


def venv(found: Stack) -> Command:
    steps = put_in_place("api", release.read(found, "api"), found.services["api"])
    return next(step for step in steps if step.name == "api: requirements")


def test_the_environment_is_made_by_the_python_that_the_path_names(folder: Path) -> None:
    assert f"python=${{ROOT:-}}{PATH}" in venv(stack(folder)).run
    assert "python=python3\n" in venv(stack(folder, "")).run


@pytest.mark.parametrize("choice", ["3.12", "3.12.7", "3.14"])
def test_the_environment_is_made_by_the_standalone_build_of_the_version(folder: Path, choice: str) -> None:
    found = stack(folder, f'python: "{choice}"')
    minor = choice[:4]
    assert f"python=${{ROOT:-}}/srv/api/pythons/{choice}/bin/python{minor}\n" in venv(found).run
    assert release.read(found, "api").wheels.python == minor


def test_another_python_makes_another_environment_and_release(folder: Path) -> None:
    found = [
        release.read(stack(folder, keys), "api")
        for keys in ("", f"python: {PATH}", "python: /srv/py/python3.12", "python: /opt/python3.12/bin/python3.11")
    ]
    found += [release.read(stack(folder, f'python: "{choice}"'), "api") for choice in ("3.12", "3.12.7")]
    assert len({one.id for one in found}) == len({one.venv for one in found}) == 6
    assert release.read(stack(folder, 'python: "3.13"'), "api") == found[0]


def test_wheels_are_chosen_for_its_version(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    payload = release.read(stack(folder), "api").wheels
    sent = dict(wheels.resolve(payload, tmp_path / "cache", lambda _: None))
    assert "--python-version=3.12" in asked[0]
    # The marker holds for 3.12, and not for Debian's Python.
    assert sent["requirements.txt"] == b"a==1 --hash=sha256:00\n"


def facts(found: Stack) -> dict[str, str]:
    """Run the lines of the probe here."""
    printed = subprocess.run(
        ["/bin/sh", "-c", "\n".join(pythons.facts(found))], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in printed.stdout.splitlines())


def refusals(found: Stack, seen: dict[str, str]) -> list[str]:
    return [finding.text for finding in app.findings(found, found.hosts["a"], Observed(facts=seen)) if finding.refused]


@pytest.mark.programs
def test_a_host_without_the_python_is_refused(folder: Path) -> None:
    found = stack(folder, "python: /nowhere/python3.12")
    assert refusals(found, facts(found)) == [
        "services.api.python: there is no /nowhere/python3.12. Install it on the host, then deploy"
    ]


@pytest.mark.programs
@pytest.mark.parametrize(("prints", "fits"), [("3.12", True), ("3.11", False), ("bad interpreter", False)])
def test_a_host_whose_python_has_another_version_is_refused(folder: Path, prints: str, fits: bool) -> None:
    program = folder / "python3.12"
    program.write_text(f"#!/bin/sh\necho {prints}\n")
    program.chmod(0o755)
    found = stack(folder)
    api = found.services["api"].model_copy(update={"python": str(program)})
    found = found.model_copy(update={"services": {"api": api}})
    said = refusals(found, facts(found))
    assert said == ([] if fits else [f"services.api.python: {program} is not Python 3.12; asked, it says: {prints}"])


@pytest.mark.programs
def test_a_real_python_is_asked_for_its_version(folder: Path) -> None:
    found = stack(folder)
    api = found.services["api"].model_copy(update={"python": sys.executable})
    assert list(facts(found.model_copy(update={"services": {"api": api}})).values()) == [
        f"{sys.version_info.major}.{sys.version_info.minor}"
    ]


@pytest.mark.programs
def test_debians_python_needs_no_question(folder: Path) -> None:
    assert facts(stack(folder, "")) == {}
    assert refusals(stack(folder, ""), {}) == []


@pytest.mark.parametrize(
    "value",
    [
        "3.12",
        '"3.8"',
        '"3.12.x"',
        '"3.12.07"',
        '"3.12-dev"',
        "3.13",
        "3",
        "python3.12",
        "bin/python3.12",
        "/opt/python3.12/",
        "/opt/python",
        "/opt/python3",
        "/opt/python3.8",
        "/opt/../root/python3.12",
        "/root/.pyenv/versions/3.12.1/bin/python3.12",
        "/home/me/python3.12",
        "/tmp/python3.12",
        "'/opt/my python/python3.12'",
        "'/opt/$(id)/python3.12'",
        "true",
        "[3.12]",
        "''",
    ],
)
def test_any_other_value_is_reported_with_what_to_write(folder: Path, value: str) -> None:
    with pytest.raises(InventoryError, match=r"test.yaml:9: services.api.python: must be .*(in quotes|below /home)"):
        stack(folder, f"python: {value}")


def test_a_program_has_no_python(folder: Path) -> None:
    with pytest.raises(InventoryError, match=r"services.api.python: unknown key"):
        inventories.parse(
            TEXT.format(keys='python: "3.13"').replace("kind: python", "kind: binary"), "test.yaml", folder
        )
