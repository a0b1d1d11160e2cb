"""The stack's own lines of configuration: where they apply, and how an error in them is reported, by a real nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import ENGINES
from plainstack.roles.balancer.routes import configuration_check
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example, other.example]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
"""


def stack_with(folder: Path, **snippets: str) -> Stack:
    """Return a stack whose folder has a file robots.conf for each of these names."""
    for name, text in snippets.items():
        own = folder / f"nginx/{name.replace('_', '.')}.d"
        own.mkdir(parents=True)
        (own / "robots.conf").write_text(text)
    return inventories.parse(TEXT, "hosts.yaml", folder)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer with a snippet for one name and one for all."""
    stack = stack_with(
        tmp_path_factory.mktemp("stack"),
        shop_example='location = /robots.txt { return 200 "nobody"; }\n',
        any='location = /.well-known/security.txt { return 200 "write to us"; }\n',
    )
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


@pytest.mark.programs
def test_a_snippet_is_part_of_the_configuration_of_its_name(edge: Edge) -> None:
    assert edge.curl("https://shop.example/robots.txt")[2] == "nobody"
    assert edge.curl("https://other.example/robots.txt")[2] == "fine\n"
    for name in ("shop.example", "other.example"):
        assert edge.curl(f"https://{name}/.well-known/security.txt")[2] == "write to us"


@pytest.mark.programs
@pytest.mark.parametrize("text", ["# fine\nlocation /x { nonsense on; }\n", "# fine\n} server { listen 99;\n"])
def test_an_error_names_the_file_in_the_stacks_folder_and_the_line(edge: Edge, text: str) -> None:
    """This includes a snippet that closes the block that it is in."""
    placed = edge.folder / "etc/nginx/stack/shop.example.d/robots.conf"
    good = placed.read_text()
    placed.write_text(text)
    script = configuration_check(ENGINES["nginx"], "").replace("/etc/nginx/", f"{edge.folder}/etc/nginx/")
    ran = subprocess.run(["sh", "-euc", f"PATH=$PATH:/usr/sbin\n{script}"], capture_output=True, text=True, check=False)
    placed.write_text(good)
    assert ran.returncode == 1
    assert " in nginx/shop.example.d/robots.conf:2" in ran.stderr


def test_a_snippet_for_a_name_that_the_site_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        stack_with(tmp_path, shop_exmple="")
    assert str(caught.value) == (
        "hosts.yaml:6: nginx/shop.exmple.d: shop.exmple is not in balancer.server_names, did you mean 'shop.example'?;"
        " known: shop.example, other.example, any"
    )
