"""Both engines read the same templates: a directive that only one of them has appears only in that one's files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.resources import File
from plainstack.roles import balancer, registry
from tests import inventories
from tests.unit.conftest import fake_vault
from tests.unit.roles import test_routes
from tests.unit.roles.balancer_files import KEY

# Directives of Angie's documentation that nginx 1.26 does not have, as far as a balancer might use them.
ANGIE_ONLY = {
    "acme",
    "acme_client",
    "api",
    "api_config_files",
    "prometheus",
    "prometheus_template",
    "status_zone",
    "sticky",
    "upstream_probe",
}
# Directives that the same pages list as "nginx unsupported directives", or call obsolete.
NGINX_ONLY = {
    "add_header_inherit",
    "add_trailer_inherit",
    "http2_idle_timeout",
    "http2_max_field_size",
    "http2_max_header_size",
    "http2_max_requests",
    "http2_push",
    "http2_recv_timeout",
    "keepalive_min_timeout",
}
# Parameters that only Angie has, with the directive.
ANGIE_PARAMETERS = (r"resolver (off|conf)\b", r"server [^;]* (drain|slow_start=|resolve)\b")
FEATURES = """\
balancer:
  engine: ENGINE
  angie_key: key
  tls: acme
  acme: {email: ops@shop.example}
  maintenance: {allow: [192.0.2.0/24, "2001:db8::/32"]}
"""


@cache
def configuration(engine: str, folder: Path) -> str:
    """Return all of a balancer's configuration, with every feature of the tests of routes and those above."""
    (folder / "key").write_bytes(KEY)
    text = test_routes.TEXT.replace("balancer:\n", FEATURES.replace("ENGINE", engine))
    # An HTTP challenge cannot validate a wildcard.
    text = text.replace('"*.old.example"', "was.old.example").replace(
        'host: "*.tenant.example"', "host: t.tenant.example"
    )
    text = text.replace('"*.tenant.example"', "t.tenant.example")
    stack = inventories.parse(text, "hosts.yaml", folder)
    vault = fake_vault(stack, by_name(stack, registry()))
    wanted = inventories.wanted(balancer.ROLE, stack, "lb1", vault)
    texts = [item.content.decode() for item in wanted if isinstance(item, File) and f"/etc/{engine}/" in item.path]
    assert len(texts) > 4
    return "\n".join(re.sub(r"^\s*#.*$", "", text, flags=re.M) for text in texts)


def directives(text: str) -> set[str]:
    """Return the names of the directives in a configuration, without the lines in maps and similar blocks."""
    bare = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "x", text)
    bare = re.sub(r"\b(map|geo)\s[^{]*\{[^}]*\}", r"\1 x;", bare)
    return set(re.findall(r"(?:^|[;{}])\s*([a-z][a-z0-9_]*)\b(?=[\s;{])", bare))


def test_the_configurations_of_the_engines_differ_only_in_what_one_of_them_lacks(tmp_path: Path) -> None:
    nginx, angie = (directives(configuration(engine, tmp_path)) for engine in ("nginx", "angie"))
    assert {"proxy_pass", "limit_req", "map", "server_name", "auth_basic", "listen", "upstream"} <= nginx
    # Angie's list of types is the newer one, so nothing is added to it.
    assert nginx - angie == {"types"}
    assert angie - nginx <= {*ANGIE_ONLY, "resolver", "ssl_client_certificate", "ssl_verify_client"}
    assert {"api", "prometheus", "status_zone"} <= angie


@pytest.mark.parametrize("engine", ["nginx", "angie"])
def test_no_engine_gets_a_directive_that_it_lacks(engine: str, tmp_path: Path) -> None:
    lacking, text = ANGIE_ONLY if engine == "nginx" else NGINX_ONLY, configuration(engine, tmp_path)
    assert directives(text) & lacking == set()
    found = [name for name in ANGIE_PARAMETERS if re.search(name, text)]
    assert found == ([] if engine == "nginx" else [ANGIE_PARAMETERS[0]])
