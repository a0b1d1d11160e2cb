"""Where the stack's own lines are in the balancers' configuration: what they take precedence over, by a real nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer:
  server_names: [shop.example, www.shop.example, old.example]
  redirects:
    - {host: www.shop.example, to: "https://shop.example", status: 308}
    - {host: old.example, to: "https://shop.example/moved"}
services:
  web:
    kind: binary
    source: "."
    max_body: 50M
    processes: {web: {command: run, port: 8000, health: /}}
"""


def stack_with(folder: Path, snippets: dict[str, str], text: str = TEXT) -> Stack:
    """Return a stack with these files below the folder nginx."""
    for name, lines in snippets.items():
        (folder / "nginx" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "nginx" / name).write_text(lines)
    return inventories.parse(text, "hosts.yaml", folder)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer with snippets for a redirected name and for all names."""
    snippets = {
        "www.shop.example.d/hi.conf": 'location = /hi { return 200 "hi"; }\n',
        "any.d/all.conf": 'location /all/ { return 200 "all"; }\n',
    }
    stack = stack_with(tmp_path_factory.mktemp("stack"), snippets)
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


@pytest.mark.programs
def test_a_location_of_a_snippet_answers_under_a_redirected_name(edge: Edge) -> None:
    assert edge.curl("https://www.shop.example/hi")[::2] == ("200", "hi")
    for name in ("shop.example", "www.shop.example", "old.example"):
        assert edge.curl(f"https://{name}/all/pages")[::2] == ("200", "all")


@pytest.mark.programs
def test_all_other_paths_of_a_redirected_name_are_redirected(edge: Edge) -> None:
    for path in ("/", "/hi/there", "/x/%2e%2e/a%2Fb?c=%20"):
        status, headers, _ = edge.curl(f"https://www.shop.example{path}", "--path-as-is")
        assert status == "308"
        assert f"location: https://shop.example{path.lower()}\r\n" in headers
        assert "x-content-type-options: nosniff" in headers
    assert "location: https://shop.example/moved\r\n" in edge.curl("https://old.example/any")[1]


@pytest.mark.programs
def test_an_upload_to_a_redirected_name_is_redirected_whatever_its_size(edge: Edge, tmp_path: Path) -> None:
    """The routes of the name that it leads to have limits of their own."""
    (tmp_path / "large").write_bytes(bytes(11 << 20))
    upload = ("-T", str(tmp_path / "large"), "-H", "Expect:")
    assert edge.status("https://www.shop.example/", *upload) == "308"


@pytest.mark.parametrize("location", ["/", "^~ /", "^~/"])
def test_a_snippet_cannot_answer_at_all_paths_of_a_redirected_name(tmp_path: Path, location: str) -> None:
    text = TEXT.replace("max_body: 50M", "path: /web/")
    lines = f"\nlocation {location} {{ return 404; }}\n"
    stack_with(tmp_path, {"shop.example.d/rest.conf": lines}, text)
    with pytest.raises(InventoryError) as caught:
        stack_with(tmp_path, {"www.shop.example.d/rest.conf": lines}, text)
    assert str(caught.value) == (
        "hosts.yaml:6: nginx/www.shop.example.d/rest.conf:2: the location / is already that of the redirect of"
        " www.shop.example. Remove it"
    )


def test_a_location_for_all_names_cannot_be_that_of_a_redirect(tmp_path: Path) -> None:
    text = TEXT.replace("max_body: 50M", "path: /web/").replace(", old.example]", ", old.example, also.example]")
    with pytest.raises(InventoryError) as caught:
        stack_with(tmp_path, {"any.d/rest.conf": "location / { return 404; }\n"}, text)
    known = "nginx/any.d/rest.conf:1: the location / is already that of the redirect of"
    move = "Move it to the folders of the names that it is for"
    assert str(caught.value).splitlines() == [
        f"hosts.yaml:6: {known} www.shop.example. {move}",
        f"hosts.yaml:6: {known} old.example. {move}",
    ]
