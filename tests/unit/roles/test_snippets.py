"""The stack's own lines of configuration: where they apply, and how an error in them is reported, by a real nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import ENGINES
from plainstack.roles.balancer.routes import configuration_check, snippet_files
from tests import inventories
from tests.unit.roles.real_nginx import Edge, placed, running, said_by_nginx
from tests.unit.sandbox import Sandbox

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example, other.example]}
services:
  web:
    kind: binary
    source: "."
    routes: [/, {path: /reports/, snippet: nginx/reports.conf}]
    processes: {web: {command: run, port: 8000, health: /}}
"""
REPORTS = """\
add_header X-Own "yes" always;
proxy_set_header X-Own $request_method;
if ($arg_format = "xml") {
    return 410;
}
if ($arg_mark) {
    add_header X-Mark $request_method always;
}
"""


def stack_with(folder: Path, **snippets: str) -> Stack:
    """Return a stack whose folder has a file robots.conf for each of these names."""
    for name, text in snippets.items():
        own = folder / f"nginx/{name.replace('_', '.')}.d"
        own.mkdir(parents=True)
        (own / "robots.conf").write_text(text)
    (folder / "nginx").mkdir(exist_ok=True)
    (folder / "nginx/reports.conf").write_text(REPORTS)
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


def checked(edge: Edge) -> subprocess.CompletedProcess[str]:
    """Let the script of a deploy check the configuration."""
    script = configuration_check(ENGINES["nginx"], "").replace("/etc/nginx/", f"{edge.folder}/etc/nginx/")
    command = ["sh", "-euc", f"PATH=$PATH:/usr/sbin\n{script}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.programs
def test_a_snippet_is_part_of_the_configuration_of_its_name(edge: Edge) -> None:
    assert edge.curl("https://shop.example/robots.txt")[2] == "nobody"
    assert edge.curl("https://other.example/robots.txt")[2] == "fine\n"
    for name in ("shop.example", "other.example"):
        assert edge.curl(f"https://{name}/.well-known/security.txt")[2] == "write to us"


@pytest.mark.programs
@pytest.mark.parametrize("accept", ["text/html", "text/event-stream"])
def test_a_snippet_of_a_route_applies_there_and_keeps_the_headers_of_the_balancer(edge: Edge, accept: str) -> None:
    _, headers, request = edge.curl("https://shop.example/reports/echo", "-H", f"Accept: {accept}")
    assert "x-own: yes" in headers
    assert "x-content-type-options: nosniff" in headers
    assert "X-Own: GET" in request
    assert "Host: shop.example" in request
    assert "X-Forwarded-Proto: https" in request
    assert edge.status("https://shop.example/reports/?format=xml", "-H", f"Accept: {accept}") == "410"
    assert "x-own" not in edge.curl("https://shop.example/echo")[1]


@pytest.mark.programs
def test_an_if_of_a_snippet_applies_to_a_post_as_well(edge: Edge) -> None:
    assert "x-mark: post" in edge.curl("https://shop.example/reports/?mark=1", "-d", "x")[1]


@pytest.mark.programs
@pytest.mark.parametrize("place", ["shop.example.d/robots.conf", "reports.conf"])
@pytest.mark.parametrize("text", ["# fine\nlocation /x { nonsense on; }\n", "# fine\n} server { listen 99;\n"])
def test_an_error_names_the_file_in_the_stacks_folder_and_the_line(edge: Edge, place: str, text: str) -> None:
    """This includes a snippet that closes the block that it is in."""
    placed = edge.folder / "etc/nginx/stack" / place
    good = placed.read_text()
    placed.write_text(text)
    ran = checked(edge)
    placed.write_text(good)
    assert ran.returncode == 1
    assert f" in nginx/{place}:2" in ran.stderr


@pytest.mark.programs
def test_a_snippet_of_a_wildcard_is_not_part_of_the_names_below_it(tmp_path: Path) -> None:
    """nginx's `include` takes a name with a `*` for a pattern, and no file on a host can have one in its name."""
    files = {
        "*.shop.example.d/robots.conf": 'location = /robots.txt { return 200 "wildcard"; }\n',
        "api.shop.example.d/robots.conf": 'location = /robots.txt { return 200 "api"; }\n',
        "*.shop.example.d/reports.inc": 'add_header X-Own "wildcard" always;\n',
        "api.shop.example.d/reports.inc": 'add_header X-Own "api" always;\n',
    }
    for name, text in files.items():
        (tmp_path / "nginx" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nginx" / name).write_text(text)
    text = TEXT.replace("[shop.example, other.example]", '["*.shop.example", api.shop.example]')
    text = text.replace("nginx/reports.conf", '"nginx/*.shop.example.d/reports.inc"')
    stack = inventories.parse(text, "hosts.yaml", tmp_path)
    with running(stack, tmp_path / "edge") as edge:
        for host, own in (("api", "api"), ("www", "wildcard")):
            assert edge.curl(f"https://{host}.shop.example/robots.txt")[2] == own
            headers = edge.curl(f"https://{host}.shop.example/reports/")[1]
            assert [line for line in headers.splitlines() if line.startswith("x-own")] == ["x-own: wildcard"]
        (there,) = (edge.folder / "etc/nginx/stack").glob("[!a]*/robots.conf")
        there.write_text("nonsense on;\n")
        assert " in nginx/*.shop.example.d/robots.conf:1" in checked(edge).stderr
    sandbox = Sandbox.new(tmp_path / "host")
    sent = list(snippet_files(stack, ENGINES["nginx"]))
    assert all(done.ok for done in sandbox.deploy({"balancer": sent}))
    # The file api.shop.example.d/reports.inc is not that of any route.
    assert sorted(sandbox.read(file.path) for file in sent) == sorted(list(files.values())[:3])


@pytest.mark.parametrize(
    "name", ["my robots.conf", "a[1].conf", "a*.conf", "gr\u00fc\u00dfe.conf", "a;b.conf", "$a.conf"]
)
def test_a_file_name_that_the_configuration_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    """Files that do not end in .conf are ignored whatever their names are."""
    stack_with(tmp_path, any="")
    (tmp_path / "nginx/any.d/my notes.txt").write_text("")
    inventories.parse(TEXT, "hosts.yaml", tmp_path)
    allowed = "Rename the file: letters, digits, '.', '_' and '-' are allowed"
    (tmp_path / "nginx/any.d" / name).write_text("")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT, "hosts.yaml", tmp_path)
    assert str(caught.value) == f"hosts.yaml:6: nginx/any.d/{name}: {allowed}"
    (tmp_path / "nginx/any.d" / name).rename(tmp_path / "nginx" / name)
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT.replace("nginx/reports.conf", f"'nginx/{name}'"), "hosts.yaml", tmp_path)
    assert str(caught.value) == f"hosts.yaml:11: services.web.routes.1.snippet: nginx/{name}: {allowed}"


def test_a_folder_name_that_the_configuration_cannot_have_is_refused(tmp_path: Path) -> None:
    text = TEXT.replace("[shop.example, other.example]", '["*.shop.example"]')
    stack_with(tmp_path)
    (tmp_path / "nginx/a b.shop.example.d").mkdir()
    (tmp_path / "nginx/a b.shop.example.d/a.conf").write_text("")
    for name in ("my own", "a/*.b"):
        (tmp_path / "nginx" / name).mkdir(parents=True)
        (tmp_path / "nginx" / name / "a.conf").write_text("")
    places = "nginx/my own/a.conf}, {path: /x/, snippet: 'nginx/a/*.b/a.conf'"
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text.replace("nginx/reports.conf", places), "hosts.yaml", tmp_path)
    assert str(caught.value).splitlines() == [
        "hosts.yaml:6: nginx/a b.shop.example.d: a b.shop.example is not a name such as shop.example or *.shop.example,"
        " in lower case. Rename the folder",
        "hosts.yaml:11: services.web.routes.1.snippet: nginx/my own/a.conf: Rename the folder my own: letters, digits,"
        " '.', '_' and '-' are allowed",
        "hosts.yaml:11: services.web.routes.2.snippet: nginx/a/*.b/a.conf: Rename the folder *.b: letters, digits, '.',"
        " '_' and '-' are allowed",
    ]


def test_a_snippet_for_a_name_that_the_site_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        stack_with(tmp_path, shop_exmple="")
    assert str(caught.value) == (
        "hosts.yaml:6: nginx/shop.exmple.d: shop.exmple is not in balancer.server_names, did you mean 'shop.example'?;"
        " known: shop.example, other.example, any"
    )


def test_a_snippet_for_a_name_that_the_certificate_does_not_cover_is_refused(tmp_path: Path) -> None:
    stack_with(tmp_path)
    for name in ("a.shop.example", "a.b.shop.example"):
        (tmp_path / f"nginx/{name}.d").mkdir()
        (tmp_path / f"nginx/{name}.d/robots.conf").write_text("")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT.replace("[shop.example,", '["*.shop.example",'), "hosts.yaml", tmp_path)
    assert str(caught.value) == (
        "hosts.yaml:6: nginx/a.b.shop.example.d: the certificate of *.shop.example does not cover a.b.shop.example: the"
        " '*' stands for one part of a name. Add a.b.shop.example to balancer.server_names"
    )
    inventories.parse(TEXT.replace("[shop.example,", '["*.shop.example", a.b.shop.example,'), "hosts.yaml", tmp_path)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nginx/none.conf", "no such file: nginx/none.conf"),
        ("other/reports.conf", "other/reports.conf must be in the folder nginx beside the inventory"),
        ("nginx/../reports.conf", "nginx/../reports.conf must be in the folder nginx beside the inventory"),
        (
            "nginx/any.d/reports.conf",
            "nginx/any.d/reports.conf is for the whole server, like every *.conf in a folder NAME.d. Move it to"
            " nginx/reports.conf",
        ),
    ],
)
def test_a_snippet_that_a_route_cannot_have_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT.replace("nginx/reports.conf", path), "hosts.yaml", tmp_path)
    assert str(caught.value) == f"hosts.yaml:11: services.web.routes.1.snippet: {problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"\xef\xbb\xbfgzip off;\n", "1: begins with a byte order mark. Save it as UTF-8 without BOM"),
        (b"# {\r\nadd_header A b\r\n", "2: add_header does not end with ';'"),
        (b"location = /x {\n  return 200;\n", "1: the block that begins here is not closed. Add a '}'"),
        (b"gzip off;\n}\n", "2: closes a block that the file has not opened. Remove this '}'"),
        (b"location = /x {\n  return 200 }\n", "2: return does not end with ';'"),
        (b"gzip off;\n;\n", "2: there is nothing before this ';'"),
        (b'add_header A "b;\n', '1: a text that begins with " is not closed, or is followed by another character'),
        (
            b"location = /up { return 200; }\n",
            "1: the location = /up is already that of the health page of services.web",
        ),
        (
            b"location /reports/ { }\n",
            "1: the location /reports/ is already that of a route of services.web. Remove it",
        ),
        (b"location = /a { }\nlocation = '/a' { }\n", "2: the location = /a is already that of nginx/any.d/a.conf:1"),
        (b"location =/a { }\nlocation = /a { }\n", "2: the location = /a is already that of nginx/any.d/a.conf:1"),
        (b"location ^~/a { }\nlocation /a { }\n", "2: the location /a is already that of nginx/any.d/a.conf:1"),
    ],
)
def test_a_snippet_that_no_web_server_would_accept_is_refused_at_once(
    tmp_path: Path, text: bytes, problem: str
) -> None:
    (tmp_path / "nginx/any.d").mkdir(parents=True)
    (tmp_path / "nginx/any.d/a.conf").write_bytes(text)
    (tmp_path / "nginx/reports.conf").write_text("")
    limited = TEXT.replace("[/,", "[{path: /, limit: {rate: 1/s}},").replace("health: /", "health: /up")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(limited, "hosts.yaml", tmp_path)
    assert str(caught.value).startswith(f"hosts.yaml:6: nginx/any.d/a.conf:{problem}")


@pytest.mark.programs
@pytest.mark.parametrize("health", ["/", "/reports/up"])
def test_nginx_accepts_what_is_unusual_but_right(tmp_path: Path, health: str) -> None:
    """This includes a page for all paths that have no route."""
    text = b"""\
        # a comment with { and "\r
        location = /a { return 200 "a;{b}\\"
c"; }\r
        location = '/b' { return 200 ${host}$args\\;b}c#d; }
        location ~ "^/c{2}$" {return 200;} location ~/c {return 200;} location ~*/c {return 200;} location "/a b" { }
        location / { location /d/ { return 404; } if ($arg_a ~ ^(a|b)$) { return 410; } return 200 \xe9; }
        add_header X-Empty "";"""
    (tmp_path / "nginx/any.d").mkdir(parents=True)
    (tmp_path / "nginx/any.d/empty.conf").write_text("")
    (tmp_path / "nginx/any.d/a.conf").write_bytes(text)
    (tmp_path / "nginx/reports.conf").write_text("")
    alone = TEXT.replace("[/, ", "[").replace("health: /", f"health: {health}")
    stack = inventories.parse(alone, "hosts.yaml", tmp_path)
    assert said_by_nginx(placed(stack, tmp_path / "edge")) == ""
