"""Where the stack's own lines are in the balancers' configuration: what they take precedence over, by a real nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from tests import inventories
from tests.unit.roles.real_nginx import Edge, placed, running, said_by_nginx

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


OWN_LINES = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example]}
services:
  web:
    kind: python
    source: "."
    static: {path: /static/, folder: static}
    routes: [/, {path: /own/, max_body: 1M, buffering: false, users: [jane], snippet: nginx/own.conf}]
    processes: {web: {command: run, port: 8000, health: /}}
  front:
    kind: static
    source: "."
    routes: [{path: /front/, snippet: nginx/own.conf}]
    port: 8082
"""


def refused(folder: Path, name: str, line: str) -> str:
    """Return what nginx says of the balancer's configuration with a line in the second line of a snippet."""
    (folder / "requirements.txt").write_text("")
    stack = stack_with(folder, {"own.conf": "", "any.d/own.conf": "", name: f"\n{line}\n"}, OWN_LINES)
    return said_by_nginx(placed(stack, folder / "edge", {"balancer/users/jane": "word"}))


@pytest.mark.programs
@pytest.mark.parametrize(
    "line",
    [
        "proxy_read_timeout 5s;",
        "proxy_send_timeout 5s;",
        "proxy_buffering on;",
        "proxy_request_buffering on;",
        "proxy_pass http://other;",
        "proxy_next_upstream_tries 1;",
        "client_max_body_size 1m;",
        "auth_basic off;",
    ],
)
def test_a_directive_that_a_location_has_already_is_an_error_in_the_snippet_of_the_route(
    tmp_path: Path, line: str
) -> None:
    said = refused(tmp_path, "own.conf", line)
    assert f'"{line.split()[0]}" directive is duplicate in ' in said
    assert "/nginx/stack/own.conf:2" in said


@pytest.mark.programs
@pytest.mark.parametrize(
    "line",
    [
        "proxy_connect_timeout 2s;",
        "proxy_http_version 1.0;",
        "proxy_buffers 8 16k;",
        "open_file_cache off;",
        "limit_conn addresses 5;",
    ],
)
def test_what_a_server_has_already_is_an_error_in_the_snippet_of_the_name(tmp_path: Path, line: str) -> None:
    said = refused(tmp_path, "any.d/own.conf", line)
    assert "duplicate" in said
    assert "/nginx/stack/any.d/own.conf:2" in said


@pytest.mark.programs
def test_pages_of_snippets_for_failures_take_precedence(tmp_path: Path) -> None:
    snippets = {
        "own.conf": "error_page 502 /route.html;",
        "any.d/own.conf": """\
            error_page 502 /name.html;
            location = /route.html { internal; return 200 "route"; }
            location = /name.html { internal; return 200 "name"; }
            location = /away { proxy_pass http://web/broken; }
            """,
    }
    text = OWN_LINES.replace(" users: [jane],", "")
    with running(stack_with(tmp_path, snippets, text), tmp_path / "edge") as edge:
        assert edge.curl("https://shop.example/own/broken")[::2] == ("502", "route")
        assert edge.curl("https://shop.example/away")[::2] == ("502", "name")
        assert "<h1>Temporarily unavailable</h1>" in edge.curl("https://shop.example/broken")[2]


@pytest.mark.programs
def test_headers_of_a_snippet_apply_where_the_documentation_says(tmp_path: Path) -> None:
    lines = 'add_header X-Name yes always; location = /hi { add_header X-Hi yes; return 200 "hi"; }'
    text = OWN_LINES.replace(" users: [jane],", "")
    with running(stack_with(tmp_path, {"own.conf": "", "any.d/own.conf": lines}, text), tmp_path / "edge") as edge:
        files = edge.folder / "var/lib/plainstack-static/web/current"
        files.mkdir(parents=True)
        (files / "a.css").write_text("")
        has = {path: edge.curl(f"https://shop.example{path}")[1] for path in ("/", "/static/a.css", "/own/", "/hi")}
    assert [path for path, headers in has.items() if "x-name: yes" in headers] == ["/"]
    assert [path for path, headers in has.items() if "x-content-type-options: nosniff" not in headers] == ["/hi"]
