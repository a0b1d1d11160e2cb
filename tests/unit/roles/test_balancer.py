"""What role balancer promises to users, as seen in its rendered files; nginx and Angie share one set of templates."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address

import pytest

from plainstack.engine.resources import Sysctl, Unit
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from tests.unit.roles.balancer_files import (
    SITE,
    UPSTREAMS,
    changed,
    locations,
    passed,
    resources,
    text,
    unit,
    upstreams,
)


def test_every_service_is_spread_over_every_app_host(stack: Stack, vault: Vault) -> None:
    hosts = ["192.168.57.14:8000", "192.168.57.15:8000"]
    assert upstreams(text(stack, vault, SITE)) == {"web": hosts, "web.once": hosts}


def test_a_post_never_gets_a_connection_that_a_stopping_server_may_close(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    kept, once = re.findall(r"^upstream \S+ \{(.*?)^\}", site, re.M | re.S)
    assert "keepalive 32;" in kept
    assert "keepalive" not in once
    # The variable is `.once` for exactly the methods that proxy_next_upstream does not repeat.
    assert re.findall(r"^    (\w+) +\.once;$", site, re.M) == ["POST", "LOCK", "PATCH"]
    for path in ("/", "@web-stays-open"):
        assert re.search(
            r"proxy_pass http://web;\s+if \(\$once\) \{\s+proxy_pass http://web\.once;\s+\}", locations(site)[path]
        )


def test_a_failed_get_is_retried_on_another_host_but_a_post_never_runs_twice(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    for setting in (
        "proxy_connect_timeout 500ms;",
        "proxy_next_upstream error timeout http_502 http_504;",
        "proxy_next_upstream_tries 2;",
        "proxy_next_upstream_timeout 10s;",
        "proxy_socket_keepalive on;",
        "proxy_http_version 1.1;",
        "keepalive 32;",
    ):
        assert setting in site
    assert "non_idempotent" not in site


def test_a_failed_request_does_not_take_a_host_out_of_use(stack: Stack, vault: Vault) -> None:
    """Only one program writes files with server lines, and it writes max_fails=0."""
    site = text(stack, vault, SITE)
    assert "max_fails" not in site
    assert not re.findall(r"^    server ", site, re.M)
    assert " max_fails=0;" in text(stack, vault, UPSTREAMS)


@pytest.mark.programs
def test_the_program_knows_every_host_of_every_service(stack: Stack, vault: Vault) -> None:
    web = stack.services["web"]
    api = web.model_copy(update={"path": "/api/", "port": 8001, "health": "/up"})
    both = stack.model_copy(update={"services": {"web": web, "api": api}})
    reported = told_by_sh(text(both, vault, f"{UPSTREAMS}.conf"))
    assert reported["TARGETS"].splitlines() == [
        "web app1 192.168.57.14:8000 /healthz [!5]?? 192.168.3.230 5 2",
        "web app2 192.168.57.15:8000 /healthz [!5]?? 192.168.3.230 5 2",
        "api app1 192.168.57.14:8001 /up [!5]?? 192.168.3.230 5 2",
        "api app2 192.168.57.15:8001 /up [!5]?? 192.168.3.230 5 2",
    ]
    assert (reported["ENGINE"], reported["FOLDER"]) == ("nginx", "/etc/nginx")
    named = changed(stack, server_names=("*.shop.example",))
    assert "/healthz [!5]?? www.shop.example 5 2" in told_by_sh(text(named, vault, f"{UPSTREAMS}.conf"))["TARGETS"]
    addresses = [line.split()[2] for line in reported["TARGETS"].splitlines()]
    pools = upstreams(text(both, vault, SITE))
    assert [each for name, pool in pools.items() if not name.endswith(".once") for each in pool] == addresses


def told_by_sh(settings: str) -> dict[str, str]:
    names = ("ENGINE", "FOLDER", "TARGETS")
    show = "".join(f"printf '%s\\0' \"${name}\"\n" for name in names)
    ran = subprocess.run(["sh", "-eu", "-c", settings + show], capture_output=True, text=True, check=True)
    return dict(zip(names, ran.stdout.split("\0"), strict=False))


def test_the_program_runs_before_the_engine_that_includes_its_files(stack: Stack, vault: Vault) -> None:
    units = [item.name for item in resources(stack, vault) if isinstance(item, Unit)]
    assert units.index("plainstack-upstreams.service") < units.index("nginx.service")
    unit_file = text(stack, vault, "/etc/systemd/system/plainstack-upstreams.service")
    assert "Before=nginx.service angie.service\n" in unit_file
    # Starting the engine starts this program first.
    assert "WantedBy=multi-user.target nginx.service angie.service\n" in unit_file
    program = unit(stack, vault, "plainstack-upstreams.service")
    assert {UPSTREAMS, f"{UPSTREAMS}.conf"} <= set(program.restart_on)


@pytest.mark.parametrize(("hosts", "tries"), [(1, 2), (2, 2), (3, 3), (5, 3)])
def test_the_number_of_retries_depends_on_the_number_of_hosts(
    stack: Stack, vault: Vault, hosts: int, tries: int
) -> None:
    apps = {
        f"app{number}": Host(name=f"app{number}", address=ip_address(f"192.0.2.{number}"), roles=("app",))
        for number in range(1, hosts + 1)
    }
    others = {name: host for name, host in stack.hosts.items() if "app" not in host.roles}
    many = stack.model_copy(update={"hosts": {**others, **apps}})
    assert f"proxy_next_upstream_tries {tries};" in text(many, vault, SITE)


def test_timeouts_and_headers_of_an_application_are_kept(stack: Stack, vault: Vault) -> None:
    assert "proxy_read_timeout 60s;" in locations(text(stack, vault, SITE))["/"]
    slow = stack.services["web"].model_copy(update={"timeout": 300})
    site = text(stack.model_copy(update={"services": {"web": slow}}), vault, SITE)
    assert "proxy_read_timeout 300s;" in locations(site)["/"]
    assert "proxy_buffer_size 32k;" in site
    assert "large_client_header_buffers 4 32k;" in text(stack, vault, "/etc/nginx/nginx.conf")


def test_event_streams_and_web_sockets_are_not_buffered(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    maps = dict(re.findall(r"map \$http_(?:upgrade|accept) (\S+) \{(.*?)\}", site, re.S))
    assert [
        dict(line.split() for line in maps[name].strip().splitlines()) for name in ("$stays_open", "$event_stream")
    ] == [
        {"websocket": "1;", "default": "$event_stream;"},
        {"''": "0;", "*/*": "0;", "~*text/event-stream": "1;", "default": "0;"},
    ]
    ordinary, open_ended = (locations(site)[name] for name in ("/", "@web-stays-open"))
    assert "error_page 418 = @web-stays-open;" in ordinary
    assert "proxy_buffering off;" in open_ended
    assert "proxy_read_timeout 1h;" in open_ended


def test_dead_connections_are_detected_in_time_for_a_retry(stack: Stack, vault: Vault) -> None:
    sysctls = text(stack, vault, "/etc/sysctl.d/60-plainstack-balancer.conf")
    wanted = dict(re.findall(r"^net\.ipv4\.(\S+) = (\d+)$", sysctls, re.M))
    assert wanted["tcp_retries2"] == "3"
    probing = int(wanted["tcp_keepalive_intvl"]) * int(wanted["tcp_keepalive_probes"])
    assert int(wanted["tcp_keepalive_time"]) + probing < 10
    live = {item.name: item.value for item in resources(stack, vault) if isinstance(item, Sysctl)}
    assert live == {f"net.ipv4.{name}": value for name, value in wanted.items()}


def test_services_are_routed_by_path_and_have_health_checks(stack: Stack, vault: Vault) -> None:
    web = stack.services["web"]
    api = web.model_copy(update={"path": "/api/", "port": 8001})
    site = text(stack.model_copy(update={"services": {"web": web, "api": api}}), vault, SITE)
    assert upstreams(site)["api"] == ["192.168.57.14:8001", "192.168.57.15:8001"]
    assert passed(site) == {
        "/": "http://web",
        "@web-stays-open": "http://web",
        "@web-static": "http://web",
        "/api/": "http://api",
        "@api-stays-open": "http://api",
        "@api-static": "http://api",
        "= /api/healthz": "http://api/healthz",
    }
    only_api = text(stack.model_copy(update={"services": {"api": api}}), vault, SITE)
    assert re.search(r"location / \{\s+return 404;", only_api)


def test_a_service_may_accept_larger_bodies_than_others(stack: Stack, vault: Vault) -> None:
    web = stack.services["web"]
    uploads = web.model_copy(update={"path": "/uploads/", "port": 8001, "max_body": "50M"})
    site = text(stack.model_copy(update={"services": {"web": web, "uploads": uploads}}), vault, SITE)
    blocks = re.split(r"^    location ", site, flags=re.M)
    assert [block.split()[0] for block in blocks if "client_max_body_size 50m;" in block] == [
        "/uploads/",
        "@uploads-stays-open",
    ]
    assert site.count("client_max_body_size") == 2


def test_headers_that_a_client_forges_are_replaced(stack: Stack, vault: Vault) -> None:
    sent = dict(re.findall(r"proxy_set_header (\S+) (\S+);", text(stack, vault, SITE)))
    assert sent == {
        "Host": "$host$port_suffix",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Host": "$host$port_suffix",
        "X-Forwarded-Proto": "$scheme",
        "X-Real-IP": "$remote_addr",
        "X-Request-ID": "$request_id",
        "Forwarded": '""',
        "Upgrade": "$http_upgrade",
        "Connection": "$connection_header",
    }
    assert "$proxy_add_x_forwarded_for" not in text(stack, vault, SITE)
