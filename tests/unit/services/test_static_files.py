"""A service of the kind `static`: what a host serves, and what the inventory refuses; and a real nginx."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.engine.resources import Absent, File, Package, Unit
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.secrets.values import Secret, Vault
from plainstack.services import release_check
from plainstack.services.processes import served
from tests import inventories
from tests.ports import free_port
from tests.waiting import until

TEXT = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer, BALANCER]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  docs: {kind: static, source: docs, path: /docs/, EXTRA}
"""


def parse(folder: Path, extra: str = "", more: str = "monitoring") -> Stack:
    """Return a stack that serves a folder with a front page in `site`."""
    site = folder / "docs/site"
    site.mkdir(parents=True, exist_ok=True)
    (site / "index.html").write_text("front\n")
    return inventories.parse(TEXT.replace("EXTRA", extra).replace("BALANCER", more), "hosts.yaml", folder)


def resources(stack: Stack, host: str = "app1") -> list[object]:
    return list(inventories.wanted(app.ROLE, stack, host, Vault({"x": Secret("x", "x")}, {}, "")))


def configuration(stack: Stack) -> str:
    (file,) = [
        item
        for item in resources(stack)
        if isinstance(item, File) and item.path == "/etc/plainstack/app/docs.nginx.conf"
    ]
    return file.content.decode()


def test_the_files_of_the_current_release_are_served_below_the_path(tmp_path: Path) -> None:
    text = configuration(parse(tmp_path, "folder: site, port: 8090"))
    assert "listen 10.0.0.3:8090;" in text
    assert "location /docs/ {\n            alias /srv/docs/current/source/site/;" in text
    assert "/current/source/site/$file /previous/source/site/$file =404" in text


def test_only_a_single_page_application_answers_missing_paths_with_its_front_page(tmp_path: Path) -> None:
    fallback = "error_page 403 404 =200 /docs/index.html;"
    assert fallback in configuration(parse(tmp_path, "folder: site, spa: true"))
    plain = configuration(parse(tmp_path, "folder: site"))
    assert fallback not in plain
    assert "error_page 404 /docs/404.html;" in plain


def test_a_single_page_application_needs_a_front_page(tmp_path: Path) -> None:
    stack = parse(tmp_path, "spa: true")
    assert any("docs has no index.html: its front page" in one for one in app.problems(stack, None))  # type: ignore[arg-type]  # no clock


def test_the_packages_own_nginx_does_not_run_beside_it(tmp_path: Path) -> None:
    stack, idle = parse(tmp_path), Unit(name="nginx.service", enabled=False, running=False)
    assert Package(name="nginx") in resources(stack)
    assert Absent(path="/etc/nginx/sites-enabled/default") in resources(stack)
    assert idle in resources(stack)
    both = parse(tmp_path, "hosts: [lb1]", "app")
    assert Absent(path="/etc/nginx/sites-enabled/default") not in resources(both, "lb1")
    assert idle not in resources(both, "lb1")


def test_a_file_missing_on_one_host_is_requested_from_another(tmp_path: Path) -> None:
    (service,) = served(parse(tmp_path))
    assert service.files
    assert service.health.path == "/.plainstack-health"


@pytest.mark.parametrize(
    "extra",
    [
        "env: {A: b}",
        "secrets: {A: {}}",
        "writable: [media]",
        "packages: [curl]",
        "processes: {web: {command: x}}",
        "timers: {t: {command: x, calendar: daily}}",
    ],
)
def test_a_key_that_concerns_code_is_refused(tmp_path: Path, extra: str) -> None:
    with pytest.raises(InventoryError) as caught:
        parse(tmp_path, extra)
    key = extra.partition(":")[0]
    assert any(
        one == f"hosts.yaml:7: services.docs.{key}: a service of the kind static runs no code; remove this key"
        for one in caught.value.problems
    ), caught.value.problems


def test_an_unknown_key_names_those_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"services\.docs\.spaa: unknown key, did you mean 'spa'\?"):
        parse(tmp_path, "spaa: true")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start nginx as on a host, and return its port."""
    text, port = configuration(parse(tmp_path, "folder: site, port: 8090")), free_port()
    text = text.replace("10.0.0.3:8090", f"127.0.0.1:{port}")
    text = text.replace(" /tmp/", f" {tmp_path}/").replace("/srv/docs/current/source", f"{tmp_path}/docs")
    (tmp_path / "nginx.conf").write_text(text)
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "install nginx"
    with subprocess.Popen(
        [nginx, "-e", "stderr", "-c", tmp_path / "nginx.conf", "-g", f"user {getpass.getuser()};"]
    ) as process:
        try:
            until(lambda: answers(port), "nginx")
            yield port
        finally:
            process.terminate()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return status(port, "/docs/") == 200
    return False


def status(port: int, path: str, **headers: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(client):
        client.request("GET", path, headers=headers)
        return client.getresponse().status


@pytest.mark.programs
def test_every_url_and_all_cookies_that_a_balancer_passes_on_are_accepted(port: int) -> None:
    assert status(port, f"/docs/?{'q' * 31_000}", Cookie=f"a={'x' * 31_000}") == 200
    assert status(port, "/docs/", Cookie=f"a={'x' * 120_000}") == 200


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("", "services.docs.source: it has no files, so every request would be answered 404"),
        (
            "folder: dist",
            "services.docs.folder: the source has no files in dist, so every request",
        ),
        ("build: {host: [make]}", ""),
    ],
)
def test_a_source_without_files_is_refused_unless_a_command_on_the_hosts_makes_them(
    tmp_path: Path, extra: str, said: str
) -> None:
    (tmp_path / "docs").mkdir()
    stack = inventories.parse(TEXT.replace("EXTRA", extra).replace("BALANCER", "monitoring"), "hosts.yaml", tmp_path)
    if extra == "folder: dist":
        (tmp_path / "docs/package.json").write_text("{}")
    assert [said in one for one in release_check.problems(stack)] == ([True] if said else [])


@pytest.mark.parametrize(
    ("path", "extra", "noted"),
    [
        ("/", "", ["docs: the source has no index.html, so / is answered 404"]),
        ("/", "folder: site", []),
        ("/docs/", "", []),
    ],
)
def test_a_site_without_a_front_page_is_pointed_out(tmp_path: Path, path: str, extra: str, noted: list[str]) -> None:
    """A folder of files, such as /assets, may have none."""
    parse(tmp_path)
    text = TEXT.replace("/docs/", path).replace("EXTRA", extra).replace("BALANCER", "monitoring")
    stack = inventories.parse(text, "hosts.yaml", tmp_path)
    assert [*release_check.problems(stack)] == []
    assert [*release_check.notes(stack, "docs")] == noted
