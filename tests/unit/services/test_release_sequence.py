"""Releases one after another on one host, by the real scripts: which is current, what is kept, what is left to do."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plainstack.engine.plan.actions import Run, Transaction
from plainstack.engine.resources import Directory, File, Payload, Resource, Unit
from plainstack.inventory.services import DjangoService
from plainstack.services.release import Release
from plainstack.services.release_pruning import KEPT, prune
from plainstack.services.release_steps import proven, put_in_place
from tests.unit.sandbox import Done, Sandbox, build

pytestmark = pytest.mark.programs

HOME = "/srv/web"
STATIC = f"{HOME}/current/static/css"


SERVICE = DjangoService(source=Path("shop"), project="site")


def wanted(asset: str) -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host with a service whose release is `asset`."""
    here = Release(id=asset, venv="lock", source=Payload(), wheels=Payload())
    settings = [
        File(path=f"/etc/plainstack/app/web{name}.env", content=b"A=1\n", ahead=name == ".next")
        for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in (HOME, f"{HOME}/releases", f"{HOME}/venvs")]
    unit = Unit(name="plainstack-web.service", restart_on=(f"release:{asset}",))
    steps = [*put_in_place("web", here, SERVICE), unit, proven("web", here), prune("web")]
    return {"app": [*folders, *settings, *steps]}


def deploy(host: Sandbox, asset: str) -> list[Done]:
    """Plan and apply a release whose source is one file."""
    found = host.plan(wanted(asset))
    ended: list[Done] = []
    for work in found.transactions:
        payloads = {"web: release": [("source/asset", asset.encode())]}
        sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
        ended.append(host.run(build(work, sent)))
        if not ended[-1].ok:
            break
    return ended


def releases(host: Sandbox) -> set[str]:
    return {path.name for path in (host.root / "srv/web/releases").iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    there = Sandbox.new(tmp_path / "host")
    there.write("/systemd/packaged/plainstack-web.service", "")
    return there


def test_any_sequence_of_releases_leaves_nothing_to_do(host: Sandbox) -> None:
    """Deploy more releases than are kept; then go back to a kept one, and twice to one that is gone."""
    for number in (*range(9), 7, 0, 0, 8):
        ended = deploy(host, f"r{number}")
        assert all(done.ok for done in ended), ended[-1].text
        assert host.plan(wanted(f"r{number}")).empty
        assert (host.root / "srv/web/current").readlink() == Path(f"releases/r{number}")
        assert len(releases(host)) <= KEPT
    assert len(releases(host)) == KEPT


def test_static_files_of_the_previous_release_stay_available(host: Sandbox) -> None:
    for asset in ("one", "two"):
        deploy(host, asset)
    assert host.read(f"{STATIC}/style.css") == "two\n"
    assert {path.name for path in (host.root / STATIC.lstrip("/")).iterdir()} == {
        "style.css",
        "style.one.css",
        "style.two.css",
    }
    # Only files of the previous release stay, not those that it had kept of older releases.
    deploy(host, "three")
    assert not (host.root / STATIC.lstrip("/") / "style.one.css").exists()
    # The files of a replaced release stay, even if it is replaced by an older release.
    deploy(host, "two")
    assert host.read(f"{STATIC}/style.three.css") == "three\n"


def test_a_release_in_which_a_command_still_runs_is_kept_until_the_command_has_ended(host: Sandbox) -> None:
    """A timer's command or `inv exec` may import more of its release hours later."""
    first, *later, last = [f"r{number}" for number in range(KEPT + 2)]
    deploy(host, first)
    with subprocess.Popen(["sleep", "infinity"], cwd=host.root / "srv/web/current/source") as command:
        try:
            for each in later:
                deploy(host, each)
            assert releases(host) == {first, *later[1:]}
            assert host.plan(wanted(later[-1])).empty
        finally:
            command.terminate()
    deploy(host, last)
    assert releases(host) == {*later[1:], last}


def test_a_release_is_built_in_advance_and_changes_nothing_that_runs(host: Sandbox) -> None:
    deploy(host, "one")
    ahead, rest = host.plan(wanted("two")).transactions
    assert (ahead.ahead, ahead.stage, rest.stage) == (True, "app.ahead", "app")
    host.calls()
    assert host.run(build(ahead, {"web: release": [("source/asset", b"two")]})).ok
    assert releases(host) == {"one", "two"}
    assert (host.root / "srv/web/current").readlink() == Path("releases/one")
    assert host.calls() == []


def test_a_release_that_cannot_be_loaded_fails_before_the_migration(host: Sandbox) -> None:
    deploy(host, "one")
    host.calls()
    (failed,) = deploy(host, "broken")
    assert "No module named 'broken'" in failed.text
    assert not [call for call in host.calls() if call.startswith("migrate")]
    assert releases(host) == {"one"}


@pytest.mark.parametrize(
    ("asset", "reported"), [("unset", "ImproperlyConfigured"), ("elsewhere", "copied to '/somewhere/else'")]
)
def test_static_files_outside_the_release_fail_it_and_the_message_names_the_setting(
    host: Sandbox, asset: str, reported: str
) -> None:
    deploy(host, "one")
    (failed,) = deploy(host, asset)
    assert reported in failed.text
    assert 'STATIC_ROOT = os.environ.get("STATIC_ROOT"' in failed.text
    assert releases(host) == {"one"}


def test_static_files_in_the_projects_own_storage_are_left_to_the_project(host: Sandbox) -> None:
    assert all(done.ok for done in deploy(host, "cloud"))


def test_a_plan_does_not_list_commands_whose_guards_are_only_checked_again(host: Sandbox) -> None:
    deploy(host, "one")
    subjects = [action.subject() for _, action in host.plan(wanted("two")).actions()]
    assert not [subject for subject in subjects if "prune" in subject]
    asked = [step for work in host.plan(wanted("two")).transactions for step in _steps(work)]
    assert "check web: prune again" in asked


def _steps(work: Transaction) -> Sequence[str]:
    return build(work).steps
