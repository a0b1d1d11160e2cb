"""Pages and files of the stack's own that the balancers answer with, through a real nginx."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.services import maintenance
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer:
  server_names: [shop.example, other.example, old.example]
  redirects: [{host: old.example, to: "https://shop.example"}, {host: other.example, path: /robots.txt, to: /r}]
  pages: {unavailable: pages/unavailable.html, maintenance: pages/maintenance.html}
  files:
    /robots.txt: pages/robots.txt
    /.well-known/security.txt: pages/security.txt
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
"""
FILES = {
    "unavailable.html": "<h1>À bientôt</h1>",
    "maintenance.html": "<h1>Closed: @MESSAGE@</h1>",
    "latin1.html": "\udce4",
    "robots.txt": "User-agent: *\nDisallow: /search\n",
    "security.txt": "Contact: mailto:security@shop.example\n",
}


def stack_in(folder: Path, text: str = TEXT) -> Stack:
    """Return a stack in a folder with all of its pages."""
    (folder / "pages").mkdir()
    for name, content in FILES.items():
        (folder / "pages" / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    return inventories.parse(text, "hosts.yaml", folder)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer with pages of its own."""
    with running(stack_in(tmp_path_factory.mktemp("stack")), tmp_path_factory.mktemp("edge")) as started:
        yield started


@pytest.mark.programs
def test_a_failure_is_answered_by_the_stacks_own_page_with_its_status(edge: Edge) -> None:
    status, headers, body = edge.curl("https://shop.example/broken")
    assert (status, body) == ("502", FILES["unavailable.html"])
    assert "content-type: text/html; charset=utf-8" in headers


@pytest.mark.programs
def test_maintenance_has_the_stacks_own_page_and_files_are_served_meanwhile(edge: Edge) -> None:
    program = edge.folder / "etc/plainstack/balancer/maintenance"
    environment = {**os.environ, "ROOT": str(edge.folder)}

    def run(*words: str) -> None:
        script = f"{shlex.join([str(program), *words])}\n{maintenance.SEEN}"
        subprocess.run(["sh", "-euc", script], env=environment, check=True)

    # All workers know now that there is no page.
    assert {edge.status("https://shop.example/page") for _ in range(8)} == {"200"}
    message = r"Moving & more: C:\temp\1, \c"
    run("on", "web", "2026-11-26", "jane", message)
    status, headers, body = edge.curl("https://shop.example/page")
    said = subprocess.run([program, "status"], env=environment, capture_output=True, text=True, check=True).stdout
    robots = edge.curl("https://shop.example/robots.txt")
    run("off", "web")
    assert (status, body) == ("503", f"<h1>Closed: {message.replace('&', '&amp;')}</h1>\n")
    assert said == f"maintenance.web=2026-11-26\tjane\t{message}\n"
    assert "retry-after: 300" in headers
    assert "content-type: text/html; charset=utf-8" in headers
    assert (robots[0], robots[2]) == ("200", FILES["robots.txt"])
    assert edge.status("https://shop.example/page") == "200"


@pytest.mark.programs
@pytest.mark.parametrize("name", ["shop.example", "other.example"])
def test_a_file_is_served_under_every_name_as_text(edge: Edge, name: str) -> None:
    status, headers, body = edge.curl(f"https://{name}/.well-known/security.txt")
    assert (status, body) == ("200", FILES["security.txt"])
    assert "content-type: text/plain; charset=utf-8" in headers
    assert "x-content-type-options: nosniff" in headers


@pytest.mark.programs
def test_a_redirect_of_a_name_wins_over_a_file(edge: Edge) -> None:
    assert edge.status("https://other.example/robots.txt") == "301"
    assert edge.status("https://old.example/robots.txt") == "301"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("pages/unavailable.html", "pages/none.html", "9: balancer.pages.unavailable: no such file: pages/none.html"),
        (
            "pages/unavailable.html",
            "pages/latin1.html",
            "9: balancer.pages.unavailable: pages/latin1.html is not text in UTF-8, which the balancers send it as",
        ),
        ("pages/robots.txt", "pages", "11: balancer.files.'/robots.txt': no such file: pages is not a regular file"),
        ("maintenance: pages", "maintenence: pages", "9: balancer.pages.maintenence: unknown key"),
        ("    /robots.txt:", "    robots.txt:", "11: balancer.files.'robots.txt': "),
        (
            "host: other.example, path",
            "path",
            "11: balancer.files.'/robots.txt': balancer.redirects.1 redirects this path; remove one of the two",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in TEXT
    with pytest.raises(InventoryError) as caught:
        stack_in(tmp_path, TEXT.replace(old, new, 1))
    assert str(caught.value).startswith(f"hosts.yaml:{problem}")
