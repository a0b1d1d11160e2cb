"""The key `static` of services: what is refused when the inventory and the source are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.services import release_check
from tests import inventories

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web:
    kind: binary
    source: source
    routes: [/, /extra/]
    static: {path: /static/, folder: out}
    processes: {web: {command: run, port: 8001, health: /up}}
"""


def problems(folder: Path, old: str = "", new: str = "") -> str:
    """Return the errors that are reported for the inventory after a change, or else for the sources."""
    (folder / "source/out").mkdir(parents=True)
    (folder / "source/out/app.js").write_text("x")
    try:
        stack = inventories.parse(TEXT.replace(old, new), "hosts.yaml", folder)
    except InventoryError as error:
        return "\n".join(error.problems)
    return "\n".join(release_check.problems(stack))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("folder: out", "folder: gone", "services.web.static.folder: the source has no files in gone, and the service"),
        ("path: /static/", "path: /extra/", "services.web.static: /extra/ is already that of services.web.routes"),
        ("path: /static/", "path: /", "services.web.static.path: must be"),
        ("path: /static/", "path: static", "services.web.static.path"),
        ("folder: out", "folder: ../out", "services.web.static.folder"),
        ("source: source", "source: source\n    writable: [out]", "out is in services.web.writable"),
        (", port: 8001, health: /up", "", "services.web.static: no process of the service has a `port` and a route"),
        ("kind: binary", "kind: static", "services.web.static"),
    ],
)
def test_a_wrong_key_is_reported_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in problems(tmp_path, old, new)


def test_a_folder_that_a_command_on_the_hosts_creates_may_be_missing(tmp_path: Path) -> None:
    assert problems(tmp_path) == ""
    built = "source: source\n    build: {host: [make]}\n    static: {path: /static/, folder: gone}"
    text = TEXT.replace("    static: {path: /static/, folder: out}\n", "")
    stack = inventories.parse(text.replace("source: source", built), "hosts.yaml", tmp_path)
    assert list(release_check.problems(stack)) == []
