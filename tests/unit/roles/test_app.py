"""Role app: what a service is started with, who may reach it, and how one release replaces another."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from plainstack.engine.resources import Command, Directory, File, Resource, Unit, User
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.secrets.values import Secret, Vault
from plainstack.services import release
from plainstack.services.places import LAYOUT
from tests import inventories

pytestmark = pytest.mark.programs

TEXT = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, public: 192.0.2.1, roles: [balancer]}
  lb2: {address: 10.0.0.2, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  db1: {address: 10.0.0.5, roles: [db]}
  db2: {address: 10.0.0.6, roles: [db]}
balancer: {virtual_address: 192.0.2.9, server_names: [shop.example, "*.shop.example"], interface: eth1}
services:
  web:
    source: apps/incidents
    project: incidents_site
    port: 8000
    workers: 3
    threads: 5
    env:
      DJANGO_ALLOWED_HOSTS: ${site.names}
      DB_HOSTS: ${database.hosts}
      DB_PASSWORD: ${database.password}
      DATABASE_URL: ${database.url}
    secrets: {SECRET_KEY: {generate: 50}}
database: {name: shop}
"""


@pytest.fixture
def small() -> Stack:
    text = TEXT.replace("lb2: {address: 10.0.0.2,", "lb2: {address: 10.0.0.2, public: 192.0.2.2,")
    return inventories.parse(text, "test.yaml", Path(__file__).parents[3])


SECRETS = ("postgres/app", "web/SECRET_KEY")


@pytest.fixture
def resources(small: Stack) -> list[Resource]:
    vault = Vault({name: Secret(name, f"pw-of-{name}") for name in SECRETS}, {}, "authority")
    return inventories.wanted(app.ROLE, small, "app1", vault)


def _file(resources: list[Resource], path: str) -> File:
    (found,) = [item for item in resources if isinstance(item, File) and item.path == path]
    return found


def _command(resources: list[Resource], name: str) -> Command:
    (found,) = [item for item in resources if isinstance(item, Command) and item.name == name]
    return found


def _unit(resources: list[Resource]) -> Unit:
    (found,) = [item for item in resources if isinstance(item, Unit)]
    return found


def _settings(resources: list[Resource]) -> dict[str, str]:
    """Return the variables in web.env as sh reads them, as for migrations; systemd reads the same syntax."""
    text = _file(resources, "/etc/plainstack/app/web.env").content
    script = b"set -a\n" + text + b"exec env -0\n"
    out = subprocess.run(["env", "-i", "sh", "-eu"], input=script, capture_output=True, check=True).stdout
    return dict(line.split("=", 1) for line in out.decode().split("\0") if line)


def test_the_settings_are_readable_only_by_the_service(resources: list[Resource]) -> None:
    settings = _file(resources, "/etc/plainstack/app/web.env")
    assert (settings.secret, settings.mode, settings.owner, settings.group) == (True, 0o640, "root", "app-web")
    assert User(name="app-web") in resources
    assert Directory(path="/srv/web", mode=0o750, group="app-web", purge=True, layout=LAYOUT) in resources


def test_the_application_gets_exactly_the_variables_in_the_inventory(resources: list[Resource]) -> None:
    settings = _settings(resources)
    assert settings["DB_HOSTS"] == "db1,db2"
    assert settings["DB_PASSWORD"] == "pw-of-postgres/app"
    assert settings["SECRET_KEY"] == "pw-of-web/SECRET_KEY"
    url = urlsplit(settings["DATABASE_URL"])
    assert (url.scheme, url.username, unquote(url.password or ""), url.path) == (
        "postgresql",
        "app_a",
        "pw-of-postgres/app",
        "/shop",
    )
    parameters = dict(parse_qsl(url.query))
    assert (parameters["host"], parameters["target_session_attrs"]) == ("db1,db2", "read-write")
    assert (parameters["sslmode"], parameters["sslrootcert"]) == ("verify-full", "/etc/plainstack/tls/ca.crt")
    assert set(settings) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "DJANGO_ALLOWED_HOSTS",
        "DB_HOSTS",
        "DB_PASSWORD",
        "DATABASE_URL",
        "SECRET_KEY",
    }


def test_the_site_accepts_its_names_and_addresses_and_works_through_a_tunnel(resources: list[Resource]) -> None:
    allowed = _settings(resources)["DJANGO_ALLOWED_HOSTS"].split(",")
    assert {"shop.example", ".shop.example", "192.0.2.9", "192.0.2.1", "lb1", "localhost", "127.0.0.1"} <= set(allowed)
    assert "*" not in allowed


def test_gunicorn_listens_on_the_private_address_and_trusts_the_balancers_and_its_own_host(
    resources: list[Resource],
) -> None:
    values: dict[str, object] = {}
    exec(_file(resources, "/etc/plainstack/app/web.gunicorn.py").content, values)
    assert values["bind"] == ["10.0.0.3:8000"]
    assert values["forwarded_allow_ips"] == "10.0.0.1,10.0.0.2,10.0.0.3"
    assert values["wsgi_app"] == "incidents_site.wsgi:application"
    assert (values["workers"], values["threads"], values["worker_class"]) == (3, 5, "gthread")
    # Gunicorn must not report READY before the application is loaded.
    assert values["preload_app"] is True
    # A balancer keeps idle connections for 60 s and must be the one to close them.
    assert isinstance(values["keepalive"], int)
    assert values["keepalive"] > 60
    # Neither a long URL nor many cookies lock a visitor out. 0 means no limit; any other value is cut to 8190.
    assert values["limit_request_line"] == 0
    assert values["limit_request_field_size"] == 4 * 32 * 1024


def test_only_balancers_may_reach_the_service(small: Stack) -> None:
    (opening,) = [one for one in inventories.network(small).allowed(small.hosts["app1"]) if one.port == 8000]
    assert (opening.port, opening.protocol, opening.sources) == (8000, "tcp", ("10.0.0.1", "10.0.0.2"))


def test_the_unit_restarts_by_itself_and_has_no_privileges(resources: list[Resource]) -> None:
    text = _file(resources, "/etc/systemd/system/plainstack-web.service").content.decode()
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as documented
    unit.read_string(text)
    service = unit["Service"]
    assert (service["Type"], service["User"], service["Restart"]) == ("notify", "app-web", "always")
    assert service["ExecStart"] == "gunicorn --config /etc/plainstack/app/web.gunicorn.py"
    assert service["ExecSearchPath"].startswith("/srv/web/current/venv/bin:")
    sandbox = _file(resources, "/etc/systemd/system/plainstack-web.service.d/10-sandbox.conf").content.decode()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert line in sandbox.splitlines()


def test_a_low_port_adds_only_the_capability_to_bind_it(small: Stack) -> None:
    low = small.model_copy(update={"services": {"web": small.services["web"].model_copy(update={"port": 80})}})
    vault = Vault({name: Secret(name, "pw") for name in SECRETS}, {}, "")
    found = inventories.wanted(app.ROLE, low, "app1", vault)
    text = _file(found, "/etc/systemd/system/plainstack-web.service.d/10-sandbox.conf").content.decode()
    assert "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in text


def test_settings_and_release_restart_the_service_and_its_health_check_expects_that_release(
    small: Stack, resources: list[Resource]
) -> None:
    wanted = release.read(small, "web").id
    unit = _unit(resources)
    assert set(unit.restart_on) == {
        "/etc/plainstack/app/web.env",
        "/etc/plainstack/app/web.gunicorn.py",
        f"release:{wanted}",
    }
    assert "http://10.0.0.3:8000/healthz" in unit.health
    assert wanted in unit.health


def test_the_database_is_migrated_before_the_release_is_switched_and_the_service_restarted(
    resources: list[Resource],
) -> None:
    steps = [item.name for item in resources if isinstance(item, Command | Unit)]
    assert steps == [
        "web: requirements",
        "web: release",
        "web: migrate",
        "web: switch",
        "plainstack-web.service",
        "web: proven",
        "web: prune",
    ]


def test_guards_start_no_python_and_no_secret_is_on_a_command_line(resources: list[Resource]) -> None:
    for item in resources:
        if isinstance(item, Command):
            assert "python" not in item.unless
            assert "pw-of-" not in item.run + item.unless + item.undo


# --- the scripts, run by a real sh in a folder of their own ---


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in ("releases", "venvs"):
        (tmp_path / "srv/web" / folder).mkdir(parents=True)
    return tmp_path / "srv/web"


def _sh(home: Path, script: str, **environment: str) -> int:
    root = {"ROOT": str(home.parents[1])}
    return subprocess.run(["sh", "-eu", "-c", script], env={**os.environ, **root, **environment}).returncode


def _release(home: Path, name: str, venv: str = "v", age: int = 0) -> None:
    folder = home / "releases" / name
    folder.mkdir()
    (home / "venvs" / venv).mkdir(exist_ok=True)
    (folder / "venv").symlink_to(f"../../venvs/{venv}")
    os.utime(folder, (1_000_000 - age, 1_000_000 - age))


def _switch_to(home: Path, name: str) -> None:
    (home / "current").unlink(missing_ok=True)
    (home / "current").symlink_to(f"releases/{name}")


def test_a_switch_satisfies_its_guard_and_its_undo_restores_the_previous_release(
    small: Stack, resources: list[Resource], home: Path
) -> None:
    new = release.read(small, "web").id
    switch = _command(resources, "web: switch")
    _release(home, "old")
    _release(home, new)
    _switch_to(home, "old")
    assert _sh(home, switch.unless) != 0
    assert _sh(home, switch.run) == 0
    assert _sh(home, switch.unless) == 0
    assert (home / "current").readlink() == Path("releases", new)
    for _ in range(2):
        assert _sh(home, switch.undo) == 0
        assert (home / "current").readlink() == Path("releases/old")


def test_undoing_the_first_switch_leaves_no_current_release(
    small: Stack, resources: list[Resource], home: Path
) -> None:
    _release(home, release.read(small, "web").id)
    switch = _command(resources, "web: switch")
    assert _sh(home, switch.run) == 0
    assert _sh(home, switch.undo) == 0
    assert not (home / "current").is_symlink()


def test_undoing_a_switch_that_did_not_happen_changes_nothing(resources: list[Resource], home: Path) -> None:
    _release(home, "running")
    _switch_to(home, "running")
    (home / "previous").symlink_to("releases/ancient")
    assert _sh(home, _command(resources, "web: switch").undo) == 0
    assert (home / "current").readlink() == Path("releases/running")


def test_pruning_keeps_five_releases_including_the_current_and_previous_ones_and_only_their_environments(
    resources: list[Resource], home: Path
) -> None:
    for age, name in enumerate("abcdefg"):
        _release(home, name, venv=f"v-{name}", age=age)
    _switch_to(home, "f")
    (home / "previous").symlink_to("releases/g")
    (home / "venvs" / "half-made").mkdir()
    prune = _command(resources, "web: prune")
    assert _sh(home, prune.unless) != 0
    assert _sh(home, prune.run) == 0
    assert _sh(home, prune.unless) == 0
    assert sorted(folder.name for folder in (home / "releases").iterdir()) == ["a", "b", "c", "f", "g"]
    assert sorted(folder.name for folder in (home / "venvs").iterdir()) == ["v-a", "v-b", "v-c", "v-f", "v-g"]


def test_five_releases_are_not_pruned(resources: list[Resource], home: Path) -> None:
    for name in "abcde":
        _release(home, name)
    assert _sh(home, _command(resources, "web: prune").unless) == 0


def test_an_incomplete_virtual_environment_is_rebuilt(small: Stack, resources: list[Resource], home: Path) -> None:
    guard = _command(resources, "web: requirements").unless
    venv = home / "venvs" / release.read(small, "web").venv
    venv.mkdir()
    assert _sh(home, guard) != 0
    (venv / "complete").touch()
    assert _sh(home, guard) == 0
