"""Static files of releases on a balancer, one release after another, by the real scripts."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plainstack.engine.plan.actions import Run, Transaction
from plainstack.engine.resources import Directory, Resource
from plainstack.services import asset_steps
from plainstack.services.release_pruning import KEPT
from tests.unit.sandbox import Done, Sandbox, build

pytestmark = pytest.mark.programs

BASE = "/var/lib/plainstack-static/web"


@pytest.fixture
def balancer(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "balancer")


@pytest.fixture
def app(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "app")


def wanted(release: str) -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a balancer for a release."""
    return {**brought(release), "assets_in_use": [asset_steps.use("web", BASE, release)]}


def brought(release: str) -> Mapping[str, Sequence[Resource]]:
    """Return those of the part that comes before the application's hosts switch."""
    folder = Directory(path=BASE, purge=True, layout=asset_steps.LAYOUT)
    return {"assets": [folder, asset_steps.fetch("web", BASE, release, "static", ["app1"])]}


def build_release(app: Sandbox, release: str, files: Mapping[str, str]) -> None:
    """Put a complete release in place on an application host."""
    for name, text in files.items():
        app.write(f"/srv/web/releases/{release}/static/{name}", text)


def packed(app: Sandbox, release: str) -> bytes:
    """Return what an application host prints for a balancer."""
    command = asset_steps.fetch("web", BASE, release, "static", ["app1"])
    assert command.payload
    assert command.payload.fetched
    code, text = app.sh(command.payload.fetched.script)
    assert code == 0, text
    return base64.b64decode(text, validate=True)


def deploy(
    balancer: Sandbox, app: Sandbox, release: str, parts: Mapping[str, Sequence[Resource]] | None = None
) -> list[Done]:
    """Plan and apply the release on the balancer, or only some parts of it."""
    ended: list[Done] = []
    for work in balancer.plan(parts or wanted(release)).transactions:
        assert isinstance(work, Transaction)
        needs = any(isinstance(action, Run) and action.command.payload for action in work.actions)
        payloads = {"web: static files": [("files.tar.gz", packed(app, release))]} if needs else {}
        ended.append(balancer.run(build(work, payloads)))
    assert all(done.ok for done in ended), ended
    assert balancer.plan(parts or wanted(release)).empty
    return ended


def served(balancer: Sandbox) -> dict[str, str]:
    """Return the files that the balancer serves, by name."""
    root = balancer.root / BASE.lstrip("/") / "current"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_the_files_of_earlier_releases_stay_across_a_deploy_and_a_rollback(balancer: Sandbox, app: Sandbox) -> None:
    build_release(app, "one", {"app.1a.js": "one", "app.js": "one", "page": "a file"})
    build_release(app, "two", {"app.2b.js": "two", "app.js": "two", "page/in.css": "a folder"})
    deploy(balancer, app, "one")
    assert served(balancer) == {"app.1a.js": "one", "app.js": "one", "page": "a file"}
    deploy(balancer, app, "two")
    assert served(balancer) == {"app.1a.js": "one", "app.2b.js": "two", "app.js": "two", "page/in.css": "a folder"}
    deploy(balancer, app, "one")
    assert served(balancer) == {"app.1a.js": "one", "app.2b.js": "two", "app.js": "one", "page": "a file"}


def test_files_that_are_brought_do_not_replace_those_in_use_until_the_hosts_have_switched(
    balancer: Sandbox, app: Sandbox
) -> None:
    """A release may fail on the first host; meanwhile its pages, if there are any, find the files with new names."""
    build_release(app, "one", {"app.1a.js": "one", "app.js": "one", "page": "a file"})
    build_release(app, "two", {"app.2b.js": "two", "app.js": "two", "page/in.css": "a folder"})
    build_release(app, "three", {"app.3c.js": "three", "app.js": "three"})
    deploy(balancer, app, "one")
    deploy(balancer, app, "two", brought("two"))
    assert served(balancer) == {"app.1a.js": "one", "app.2b.js": "two", "app.js": "one", "page": "a file"}
    deploy(balancer, app, "three")
    names = {"app.1a.js": "one", "app.2b.js": "two", "app.3c.js": "three"}
    assert served(balancer) == {**names, "app.js": "three", "page/in.css": "a folder"}


def test_releases_that_never_come_into_use_do_not_fill_the_disk(balancer: Sandbox, app: Sandbox) -> None:
    build_release(app, "good", {"app.js": "good"})
    deploy(balancer, app, "good")
    for number in range(KEPT + 2):
        build_release(app, f"bad{number}", {"app.js": "bad"})
        deploy(balancer, app, f"bad{number}", brought(f"bad{number}"))
        assert served(balancer) == {"app.js": "good"}
    kept = {path.name for path in (balancer.root / BASE.lstrip("/") / "releases").iterdir()}
    assert kept == {"good", *(f"bad{number}" for number in range(3, KEPT + 2))}


def test_a_rollback_needs_no_application_host(balancer: Sandbox, app: Sandbox) -> None:
    for release in ("one", "two"):
        build_release(app, release, {"app.js": release})
        deploy(balancer, app, release)
    app.remove()
    deploy(balancer, app, "one")
    assert served(balancer) == {"app.js": "one"}


def test_the_server_can_read_the_files_and_nobody_else_can_write_them(balancer: Sandbox, app: Sandbox) -> None:
    build_release(app, "one", {"css/deep/app.css": "x"})
    (app.root / "srv/web/releases/one/static/css/deep/app.css").chmod(0o600)
    deploy(balancer, app, "one")
    root = balancer.root / BASE.lstrip("/")
    folders = {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_dir()}
    files = {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}
    assert (folders, files) == ({0o755}, {0o644})


def test_links_and_hidden_files_are_not_sent(balancer: Sandbox, app: Sandbox) -> None:
    build_release(
        app, "one", {"app.js": "x", ".env": "secret", ".git/config": "secret", "with space\n.js": "y", "-x": "z"}
    )
    static = app.root / "srv/web/releases/one/static"
    (static / "passwd").symlink_to("/etc/passwd")
    (static / "etc").symlink_to("/etc")
    deploy(balancer, app, "one")
    assert served(balancer) == {"app.js": "x", "with space\n.js": "y", "-x": "z"}


def test_only_the_files_that_the_release_was_built_with_are_sent(balancer: Sandbox, app: Sandbox) -> None:
    """The files of the release before are added to the same folder when a host switches."""
    build_release(app, "two", {"app.2b.js": "two", "app.1a.js": "of the release before"})
    app.write("/srv/web/releases/two/static.files", "./app.2b.js\0")
    deploy(balancer, app, "two")
    assert served(balancer) == {"app.2b.js": "two"}


def test_a_release_may_have_no_files(balancer: Sandbox, app: Sandbox) -> None:
    (app.root / "srv/web/releases/one/static").mkdir(parents=True)
    deploy(balancer, app, "one")
    assert served(balancer) == {}


def test_a_host_without_the_release_says_so(app: Sandbox) -> None:
    command = asset_steps.fetch("web", BASE, "gone", "static", ["app1"])
    assert command.payload
    assert command.payload.fetched
    code, text = app.sh(command.payload.fetched.script)
    assert code != 0
    assert "/srv/web/releases/gone/static" in text


def test_old_releases_are_removed_with_their_files(balancer: Sandbox, app: Sandbox) -> None:
    names = [f"r{number}" for number in range(KEPT + 2)]
    for number, name in enumerate(names):
        build_release(app, name, {f"app.{name}.js": name})
        deploy(balancer, app, name)
        os.utime(balancer.root / BASE.lstrip("/") / "releases" / name, (number, number))
    kept = {path.name for path in (balancer.root / BASE.lstrip("/") / "releases").iterdir()}
    assert kept == {*names[-KEPT:]}
    assert {*served(balancer)} == {f"app.{name}.js" for name in names[-KEPT:]}
    assert len([*(balancer.root / BASE.lstrip("/") / "served").iterdir()]) == 2


def test_a_run_that_is_killed_after_any_step_is_healed_by_the_next(tmp_path: Path, app: Sandbox) -> None:
    start = Sandbox.new(tmp_path / "start")
    for release in ("one", "two"):
        build_release(app, release, {"app.js": release})
    deploy(start, app, "one")
    fetched = start.copy(tmp_path / "fetched")
    deploy(fetched, app, "two", brought("two"))
    for begin in (start, fetched):
        payloads = {"web: static files": [("files.tar.gz", packed(app, "two"))]} if begin is start else {}
        steps = len(build(begin.plan(wanted("two")).transactions[0], payloads).steps)
        for number in range(1, steps + 1):
            host = begin.copy(tmp_path / str(number))
            host.run(build(host.plan(wanted("two")).transactions[0], payloads, stop_after=number))
            assert served(host) in ({"app.js": "one"}, {"app.js": "two"})
            deploy(host, app, "two")
            assert served(host) == {"app.js": "two"}
            subprocess.run(["rm", "-rf", str(host.root)], check=True)


def test_a_failed_transaction_serves_what_it_served_before(balancer: Sandbox, app: Sandbox) -> None:
    build_release(app, "one", {"app.js": "one"})
    build_release(app, "two", {"app.js": "two"})
    deploy(balancer, app, "one")
    deploy(balancer, app, "two", brought("two"))
    failing = {"assets_in_use": [*wanted("two")["assets_in_use"], asset_steps.use("api", "/nowhere", "two")]}
    done = balancer.run(build(balancer.plan({**brought("two"), **failing}).transactions[0]))
    assert not done.ok
    assert served(balancer) == {"app.js": "one"}
