"""A service's environment: how it is read from a host, and what a command gets from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from plainstack.errors import NotDeployed, Refused
from plainstack.services.environment import Environment, parse, script
from plainstack.services.kinds import KINDS

UNIT = "plainstack-web.service"
# Printed by systemd 257.
SAID = """\
LoadState=loaded
User=app-web
Group=app-web
WorkingDirectory=/srv/web/current/source
UMask=0027
EnvironmentFiles=/etc/plainstack/app/web.env (ignore_errors=no)
EnvironmentFiles=/srv/web/current/release.env (ignore_errors=no)
Release=/srv/web/releases/abc
"""


def test_a_command_uses_the_release_that_was_current_when_it_started() -> None:
    assert parse("app1", "web", UNIT, SAID) == Environment(
        unit=UNIT,
        user="app-web",
        group="app-web",
        folder="/srv/web/releases/abc/source",
        umask="0027",
        files=("/etc/plainstack/app/web.env", "/srv/web/releases/abc/release.env"),
        programs="/srv/web/releases/abc/venv/bin",
    )


@pytest.mark.parametrize("said", [SAID.replace("loaded", "not-found"), SAID.replace("/srv/web/releases/abc", ""), ""])
def test_a_host_without_the_service_needs_a_deploy(said: str) -> None:
    with pytest.raises(NotDeployed, match=r"^app1 has not been deployed.*inv deploy --host=app1"):
        parse("app1", "web", UNIT, said)


def test_a_command_never_runs_as_root_even_if_the_unit_does() -> None:
    with pytest.raises(Refused, match=r"app1: plainstack-web\.service sets no User= and runs as root"):
        parse("app1", "web", UNIT, SAID.replace("User=app-web", "User="))


def test_names_are_quoted_for_the_host() -> None:
    assert "'a b.service'" in script("web", "a b.service")


Run = Callable[..., subprocess.CompletedProcess[str]]

PROGRAMS = {
    # Unlike a host's programs, these ignore the options before `--`.
    "systemd-run": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "setpriv": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "systemctl": """echo 'OWN="two words" SHARED=unit'""",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a command in the environment of a release with manage.py and its own programs."""
    release, own = tmp_path / "release", tmp_path / "bin"
    programs = release / "venv/bin"
    for folder in (own, programs, release / "source"):
        folder.mkdir(parents=True)
    (release / "source/manage.py").touch()
    (tmp_path / "web.env").write_text("SECRET='it is \"$5\"'\nSHARED=file\n", encoding="utf-8")
    for folder, texts in ((own, PROGRAMS), (programs, {"python": 'echo "python $*"', "env": "echo the release\\'s"})):
        for name, text in texts.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
    files = (str(tmp_path / "web.env"),)
    made = Environment(UNIT, "app-web", "app-web", str(release / "source"), "0027", files, str(programs))

    def typed(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        line = made.command(words, "plainstack-exec-1.scope", "inv exec web by me")
        assert "$5" not in line
        env = {"PATH": f"{own}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", line], env=env, input=given, capture_output=True, text=True, check=False)

    return typed


@pytest.mark.programs
def test_a_command_has_the_units_variables_folder_and_umask(run: Run, tmp_path: Path) -> None:
    ran = run("sh", "-c", 'echo "$OWN,$SHARED,$SECRET"; pwd; umask')
    assert ran.stdout.splitlines() == ['two words,file,it is "$5"', str(tmp_path / "release/source"), "0027"]


@pytest.mark.programs
def test_programs_of_the_release_come_first_and_run_its_python_files(run: Run) -> None:
    assert run("env").stdout == "the release's\n"
    assert run("manage.py", "migrate", "--plan").stdout == "python manage.py migrate --plan\n"
    assert run("/bin/echo", "a  b", "$HOME", "*", "--").stdout == "a  b $HOME * --\n"


@pytest.mark.programs
def test_input_and_exit_code_are_those_of_the_command(run: Run) -> None:
    ran = run("sh", "-c", "cat; exit 7", given="typed")
    assert (ran.returncode, ran.stdout) == (7, "typed")
    assert run("sh", "-c", "kill -TERM $$").returncode == 128 + 15


@pytest.mark.programs
def test_the_error_names_a_missing_command(run: Run) -> None:
    ran = run("mange.py", "check")
    assert (ran.returncode, ran.stderr.startswith("mange.py: no such command in ")) == (127, True)
    assert run(r"\new").stderr.startswith(r"\new: no such command in ")


def test_every_kind_has_a_console() -> None:
    consoles = {name: kind.console for name, kind in KINDS.items()}
    assert consoles == {"django": ("manage.py", "shell"), "python": ("python",), "binary": ("sh",), "static": ("sh",)}
