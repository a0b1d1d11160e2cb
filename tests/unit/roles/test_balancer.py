"""What role balancer promises to users, as seen in its rendered files; nginx and Angie share one set of templates."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from plainstack.engine.resources import Absent, File, Package, Resource, Sysctl, Unit, Validation
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.secrets.values import Vault
from plainstack.services.edge import Balancer, GivenCertificate
from tests import inventories

SITE = "/etc/nginx/conf.d/site.conf"
STATUS = "/etc/nginx/conf.d/status.conf"
IPV6 = "/etc/nginx/ipv6/"
UPSTREAMS = "/etc/plainstack/balancer/upstreams"
VRRP = "/etc/keepalived/keepalived.conf"


def changed(stack: Stack, **keys: object) -> Stack:
    return stack.model_copy(update={"balancer": stack.settings(Balancer).model_copy(update=keys)})


KEY = (Path(__file__).parents[1] / "recorded/apt/signer.gpg").read_bytes()


def angie(stack: Stack, folder: Path, key: bytes = KEY) -> Stack:
    (folder / "angie.key").write_bytes(key)
    return changed(stack, engine="angie", angie_key=folder / "angie.key")


def resources(stack: Stack, vault: Vault, host: str = "lb1") -> list[Resource]:
    return inventories.wanted(balancer.ROLE, stack, host, vault)


def files(stack: Stack, vault: Vault, host: str = "lb1") -> dict[str, File]:
    return {item.path: item for item in resources(stack, vault, host) if isinstance(item, File)}


def text(stack: Stack, vault: Vault, path: str, host: str = "lb1") -> str:
    return files(stack, vault, host)[path].content.decode()


def unit(stack: Stack, vault: Vault, name: str) -> Unit:
    return next(item for item in resources(stack, vault) if isinstance(item, Unit) and item.name == name)


def upstreams(site: str) -> dict[str, list[str]]:
    blocks = re.findall(r"^upstream (\S+) \{(.*?)^\}", site, re.M | re.S)
    return {name: re.findall(r"include /run/plainstack/upstreams/(\S+)\.conf;", body) for name, body in blocks}


def servers(site: str) -> list[str]:
    return re.findall(r"^server \{.*?^\}", site, re.M | re.S)


def locations(site: str) -> dict[str, str]:
    return dict(re.findall(r"^    location (= \S+|\S+) \{\n(.*?)^    \}", site, re.M | re.S))


def passed(site: str) -> dict[str, str]:
    found = {name: re.findall(r"proxy_pass (\S+);", body) for name, body in locations(site).items()}
    return {name: targets[0] for name, targets in found.items() if targets}


def test_every_service_is_spread_over_every_app_host(stack: Stack, vault: Vault) -> None:
    hosts = ["192.168.57.14:8000", "192.168.57.15:8000"]
    assert upstreams(text(stack, vault, SITE)) == {"web": hosts, "web.once": hosts}


def test_a_post_never_gets_a_connection_that_a_stopping_server_may_close(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    kept, once = re.findall(r"^upstream \S+ \{(.*?)^\}", site, re.M | re.S)
    assert "keepalive 32;" in kept
    assert "keepalive" not in once
    # The variable is `.once` for exactly the methods that proxy_next_upstream does not repeat.
    assert "~^(POST|LOCK|PATCH)$ .once;" in site
    assert [passed(site)[path] for path in ("/", "@web-stays-open")] == ["http://web$once"] * 2


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
    block = re.search(r'map "\$http_upgrade\|\$http_accept" \$stays_open \{(.*?)\}', site, re.S)
    assert block
    assert [line.split() for line in block[1].strip().splitlines()] == [
        ['"~*^websocket\\|"', "1;"],
        ["~*text/event-stream", "1;"],
        ["default", "0;"],
    ]
    ordinary, open_ended = (locations(site)[name] for name in ("/", "@web-stays-open"))
    assert "error_page 418 = @web-stays-open;" in ordinary
    assert "proxy_buffering off;" in open_ended
    assert "proxy_read_timeout 1h;" in open_ended


def test_ipv6_listeners_are_in_separate_files(stack: Stack, vault: Vault) -> None:
    """The engine includes these files only if the kernel has IPv6; their listeners match those for IPv4."""
    for each in (stack, changed(stack, server_names=("shop.example",))):
        placed = files(each, vault)
        everything = "".join(item.content.decode() for path, item in placed.items() if not path.startswith(IPV6))
        assert "[::]" not in everything
        site = text(each, vault, SITE)
        for name in re.findall(r"include /run/plainstack/ipv6/(\w+)\*\.conf;", site):
            server = next(block for block in servers(site) if f"/ipv6/{name}*.conf;" in block)
            ours = re.findall(r"^    listen (.*);$", server, re.M)
            theirs = re.findall(r"^listen \[::\]:(.*);$", text(each, vault, f"{IPV6}{name}.conf"), re.M)
            assert ours == theirs
        assert len(servers(site)) == len([path for path in placed if path.startswith(IPV6)])


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
        "/": "http://web$once",
        "@web-stays-open": "http://web$once",
        "/static/": "http://web",
        "/api/": "http://api$once",
        "@api-stays-open": "http://api$once",
        "/api/static/": "http://api",
        "= /api/healthz": "http://api/healthz",
    }
    only_api = text(stack.model_copy(update={"services": {"api": api}}), vault, SITE)
    assert re.search(r"location / \{\s+return 404;", only_api)


def test_a_service_may_accept_larger_bodies_than_others(stack: Stack, vault: Vault) -> None:
    web = stack.services["web"]
    uploads = web.model_copy(update={"path": "/uploads/", "port": 8001, "max_body": "50M"})
    site = text(stack.model_copy(update={"services": {"web": web, "uploads": uploads}}), vault, SITE)
    blocks = re.split(r"^    location ", site, flags=re.M)
    assert [block.split()[0] for block in blocks if "client_max_body_size 50m;" in block] == ["/uploads/"]
    assert site.count("client_max_body_size") == 1


def test_headers_that_a_client_forges_are_replaced(stack: Stack, vault: Vault) -> None:
    sent = dict(re.findall(r"proxy_set_header (\S+) (\S+);", text(stack, vault, SITE)))
    assert sent == {
        "Host": "$sent_host",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Host": "$sent_host",
        "X-Forwarded-Proto": "$scheme",
        "X-Real-IP": "$remote_addr",
        "X-Request-ID": "$request_id",
        "Forwarded": '""',
        "Upgrade": "$http_upgrade",
        "Connection": "$connection_header",
    }
    assert "map $uri $sent_host {\n    default $host$port_suffix;\n}" in text(stack, vault, SITE)
    assert "$proxy_add_x_forwarded_for" not in text(stack, vault, SITE)


def test_tls_is_modern_and_http_3_is_announced(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in site
    assert "ssl_session_tickets off;" in site
    assert "http2 on;" in site
    assert """add_header Alt-Svc 'h3=":443"; ma=86400' always;""" in site
    # The engine refuses a configuration that has reuseport twice for one address.
    assert site.count("listen 443 quic reuseport") == 1
    assert text(stack, vault, f"{IPV6}site.conf").count("listen [::]:443 quic reuseport") == 1
    assert "server_tokens off;" in text(stack, vault, "/etc/nginx/nginx.conf")


def test_http_3_can_be_turned_off_and_browsers_forget_it(stack: Stack, vault: Vault) -> None:
    for names in ((), ("shop.example",)):
        without = changed(stack, http3=False, server_names=names)
        everything = b"".join(item.content for item in files(without, vault).values())
        assert b"quic" not in everything
        assert "add_header Alt-Svc clear always;" in text(without, vault, SITE)
        assert (443, "udp") not in {(item.port, item.protocol) for item in balancer.opens(without, stack.hosts["lb1"])}


def test_no_location_drops_the_hardening_headers(stack: Stack, vault: Vault) -> None:
    site = text(stack, vault, SITE)
    for header in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "X-Request-ID"):
        assert f"    add_header {header} $" in site
    assert "        add_header" not in site


def test_without_server_names_the_site_answers_to_any_name(stack: Stack, vault: Vault) -> None:
    redirect, site = servers(text(stack, vault, SITE))
    assert "listen 80 default_server;" in redirect
    assert "return 308 https://$host$request_uri;" in redirect
    assert "listen 443 ssl default_server;" in site


def test_with_server_names_an_unknown_name_gets_neither_certificate_nor_response(stack: Stack, vault: Vault) -> None:
    strangers, redirect, site = servers(
        text(changed(stack, server_names=("shop.example", "www.shop.example")), vault, SITE)
    )
    assert "ssl_reject_handshake on;" in strangers
    assert "return 421;" in strangers
    assert strangers.count("default_server;") == 3
    for server in (redirect, site):
        assert "server_name shop.example www.shop.example;" in server
        assert "default_server" not in server


def test_the_stacks_certificate_is_served_and_only_root_can_read_its_key(stack: Stack, vault: Vault) -> None:
    placed = files(stack, vault)
    assert placed["/etc/plainstack/tls/site.crt"].content.decode() == vault.certificate("site").chain
    key = placed["/etc/plainstack/tls/site.key"]
    assert key.content.decode() == vault.certificate("site").key.reveal()
    assert (key.secret, key.mode, key.owner) == (True, 0o600, "root")


def test_a_provided_certificate_is_served_instead_and_adds_strict_transport_security(
    stack: Stack, vault: Vault, tmp_path: Path
) -> None:
    chain = "".join(f"-----BEGIN CERTIFICATE-----\n{one}\n-----END CERTIFICATE-----\n" for one in ("leaf", "issuer"))
    key = "-----BEGIN EC PRIVATE KEY-----\nkey\n-----END EC PRIVATE KEY-----\n"
    (tmp_path / "site.pem").write_text(chain)
    (tmp_path / "site.key").write_text(key)
    given = changed(stack, tls=GivenCertificate(certificate=tmp_path / "site.pem", key=tmp_path / "site.key"))
    placed = files(given, vault)
    assert placed["/etc/plainstack/tls/site.crt"].content.decode() == chain
    assert placed["/etc/plainstack/tls/site.key"].content.decode() == key
    assert placed["/etc/plainstack/tls/site.key"].secret
    assert "Strict-Transport-Security" in text(given, vault, SITE)
    assert "Strict-Transport-Security" not in text(stack, vault, SITE)


def test_an_expired_certificate_and_an_invalid_configuration_stop_the_deploy(stack: Stack, vault: Vault) -> None:
    checks = {item.name: item for item in resources(stack, vault) if isinstance(item, Validation)}
    assert "-checkend 0" in checks["site certificate"].run
    assert checks["nginx configuration"].run == f"{UPSTREAMS} prepare\nnginx -t -q -c /etc/nginx/nginx.conf"
    for path in (SITE, STATUS, "/etc/nginx/nginx.conf", "/etc/plainstack/tls/site.crt", "/etc/plainstack/tls/site.key"):
        assert path.startswith(checks["nginx configuration"].reads)


def test_a_change_reloads_and_never_restarts_and_the_reload_is_verified(stack: Stack, vault: Vault) -> None:
    before, after = (unit(each, vault, "nginx.service") for each in (stack, changed(stack, max_body="99m")))
    assert before.restart_on == ()
    assert {SITE, STATUS, "/etc/nginx/nginx.conf", "/etc/plainstack/tls/site.crt"} <= set(before.reload_on)
    assert before.health != after.health
    generation = re.search(r"= (\w+) \]$", after.health)
    assert generation
    assert f"return 200 {generation[1]}\\n;" in text(changed(stack, max_body="99m"), vault, STATUS)


def test_the_status_page_is_on_loopback_and_metrics_need_the_certificate_of_a_monitoring_host(
    stack: Stack, vault: Vault
) -> None:
    assert re.findall(r"listen (\S+);", text(stack, vault, STATUS)) == ["127.0.0.1:8081"]
    arguments = text(stack, vault, "/etc/default/prometheus-nginx-exporter")
    assert "--nginx.scrape-uri=http://127.0.0.1:8081/stub_status" in arguments
    assert "--web.listen-address=192.168.57.16:9113" in arguments
    web = text(stack, vault, "/etc/prometheus-nginx-exporter/web.yml")
    assert "client_auth_type: RequireAndVerifyClientCert" in web
    assert "client_allowed_sans: [mon1]" in web


def test_any_address_can_reach_the_site_but_nothing_else(stack: Stack) -> None:
    allowed = inventories.network(stack).allowed(stack.hosts["lb1"])
    offered = {(item.port, item.protocol): item.sources for item in allowed if item.port not in (22, 9100)}
    assert offered == {
        (80, "tcp"): None,
        (443, "tcp"): None,
        (443, "udp"): None,
        (9113, "tcp"): ("192.168.57.13",),
        (0, "vrrp"): ("192.168.3.232",),
    }


def test_the_virtual_address_moves_between_equal_balancers_and_does_not_move_back(stack: Stack, vault: Vault) -> None:
    first, second = (text(stack, vault, VRRP, host) for host in ("lb1", "lb2"))
    for configuration, own, other in ((first, "231", "232"), (second, "232", "231")):
        for setting in ("vrrp_version 3", "state BACKUP", "nopreempt", "interface public0", "enable_script_security"):
            assert f" {setting}\n" in configuration
        assert f"unicast_src_ip 192.168.3.{own}\n" in configuration
        assert re.search(rf"unicast_peer \{{\s+192\.168\.3\.{other}\s+\}}", configuration)
        assert re.search(r"virtual_ipaddress \{\s+192\.168\.3\.230\s+\}", configuration)
    priorities = [int(re.findall(r"priority (\d+)", configuration)[0]) for configuration in (first, second)]
    assert priorities[0] > priorities[1]
    assert "Restart=always" in text(stack, vault, "/etc/systemd/system/keepalived.service.d/10-plainstack.conf")


def test_a_balancer_may_have_a_different_interface_name(stack: Stack, vault: Vault) -> None:
    other = stack.hosts["lb2"].model_copy(update={"interface": "ens5"})
    mixed = stack.model_copy(update={"hosts": {**stack.hosts, "lb2": other}})
    assert "    interface public0\n" in text(mixed, vault, VRRP, "lb1")
    assert "    interface ens5\n" in text(mixed, vault, VRRP, "lb2")
    for name, key in (("lb1", "balancer.interface"), ("lb2", "hosts.lb2.interface")):
        check = next(item for item in resources(mixed, vault, name) if item.key == "validation balancer interface")
        assert isinstance(check, Validation)
        assert f'"{key}: {name} has no ' in check.run


def test_warnings_of_keepalived_do_not_stop_a_deploy(stack: Stack, vault: Vault) -> None:
    check = next(item for item in resources(stack, vault) if item.key == "validation keepalived configuration")
    assert isinstance(check, Validation)
    assert check.run.endswith("|| [ $? = 5 ]")


def test_without_a_virtual_address_there_is_no_keepalived(stack: Stack, vault: Vault) -> None:
    plain = changed(stack, virtual_address=None)
    assert not [item.key for item in resources(plain, vault) if "keepalived" in item.key]
    assert "vrrp" not in {item.protocol for item in balancer.opens(plain, plain.hosts["lb1"])}


def test_a_single_balancer_may_have_a_virtual_address(stack: Stack, vault: Vault) -> None:
    alone = stack.model_copy(update={"hosts": {name: host for name, host in stack.hosts.items() if name != "lb2"}})
    assert "unicast" not in text(alone, vault, VRRP)


def test_the_default_site_of_the_package_is_removed(stack: Stack, vault: Vault, tmp_path: Path) -> None:
    for each in (stack, angie(stack, tmp_path)):
        assert len([item for item in resources(each, vault) if isinstance(item, Absent)]) == 1
        engine = each.settings(Balancer).engine
        main = text(each, vault, f"/etc/{engine}/{engine}.conf")
        assert not [path for path in re.findall(r"include (\S+);", main) if "*" in path]


def test_angie_serves_the_same_site_from_its_own_paths(stack: Stack, vault: Vault, tmp_path: Path) -> None:
    vendor = angie(stack, tmp_path)
    site = text(vendor, vault, "/etc/angie/http.d/site.conf")
    assert site.replace("    status_zone site;\n", "") == text(stack, vault, SITE)
    main = text(vendor, vault, "/etc/angie/angie.conf")
    for line in ("user angie;", "pid /run/angie.pid;", "include /etc/angie/http.d/site.conf;", "    resolver off;"):
        assert f"{line}\n" in main
    everything = b"".join(item.content for path, item in files(vendor, vault).items() if path.startswith("/etc/angie/"))
    assert b"nginx" not in everything
    names = {item.name for item in resources(vendor, vault) if isinstance(item, Package)}
    assert "angie" in names
    assert not {name for name in names if "nginx" in name}
    assert unit(vendor, vault, "angie.service").reload_on[0] == "/etc/angie/angie.conf"
    drop_in = text(vendor, vault, "/etc/systemd/system/angie.service.d/10-plainstack.conf")
    assert "/var/log/angie" in drop_in
    assert "nginx" not in drop_in


def test_angie_serves_its_status_on_loopback_and_its_metrics_to_monitoring_hosts(
    stack: Stack, vault: Vault, tmp_path: Path
) -> None:
    vendor = angie(stack, tmp_path)
    status = text(vendor, vault, "/etc/angie/http.d/status.conf")
    loopback, metrics = servers(status)
    assert "listen 127.0.0.1:8081;" in loopback
    assert "api /status/;" in loopback
    assert "listen 192.168.57.16:9113 ssl;" in metrics
    assert "ssl_verify_client on;" in metrics
    assert "prometheus all;" in metrics
    assert "CN=mon1 1;" in status
    assert "/etc/plainstack/tls/host.crt" in unit(vendor, vault, "angie.service").reload_on


def test_angies_packages_and_updates_come_from_its_vendor_and_are_verified_with_the_given_key(
    stack: Stack, vault: Vault, tmp_path: Path
) -> None:
    vendor = angie(stack, tmp_path)
    placed = files(vendor, vault)
    source = placed["/etc/apt/sources.list.d/angie.sources"].content.decode()
    assert "URIs: https://download.angie.software/angie/debian/13\nSuites: trixie\n" in source
    assert "Signed-By: /etc/apt/keyrings/angie.gpg\n" in source
    assert placed["/etc/apt/keyrings/angie.gpg"].content == KEY
    assert '"site=download.angie.software";' in placed["/etc/apt/apt.conf.d/53plainstack-angie"].content.decode()
    verify = next(item for item in resources(vendor, vault) if item.key == "validation package source angie")
    assert isinstance(verify, Validation)
    assert verify.reads == ("/etc/apt/keyrings/angie.gpg", "/etc/apt/sources.list.d/angie.sources")
    assert "balancer.angie_key" in verify.run


def test_a_new_balancer_is_known_to_the_others(stack: Stack, vault: Vault) -> None:
    third = Host(
        name="lb3", address=ip_address("192.168.57.20"), public=ip_address("192.168.3.233"), roles=("balancer",)
    )
    bigger = stack.model_copy(update={"hosts": {**stack.hosts, "lb3": third}})
    assert "192.168.3.233" in text(bigger, vault, VRRP)
    vrrp = [item for item in inventories.network(bigger).allowed(bigger.hosts["lb1"]) if item.protocol == "vrrp"]
    assert vrrp[0].sources == ("192.168.3.232", "192.168.3.233")


@pytest.mark.parametrize(
    ("balancer_line", "problem"),
    [
        ("{engine: angie}", "balancer.angie_key: is missing"),
        ("{engine: angie, angie_key: no.gpg}", "balancer.angie_key: no such file: no.gpg"),
        ("{engine: angie, angie_key: page.gpg}", "balancer.angie_key: page.gpg is a web page"),
        ("{engine: angie, angie_key: folder}", "balancer.angie_key: no such file: folder"),
        ("{tls: {certificate: a.pem, key: a.key}}", "balancer.server_names: is missing"),
        ("{tls: {certificate: a.pem, key: a.key}}", "balancer.tls.certificate: a.pem cannot be read"),
        ("{tls: {certificate: a.pem, key: a.key}}", "balancer.tls.key: a.key cannot be read"),
        ("{server_names: ['shop.example; evil']}", "balancer.server_names.0: "),
    ],
)
def test_an_inventory_without_what_a_balancer_needs_is_refused(
    tmp_path: Path, balancer_line: str, problem: str
) -> None:
    (tmp_path / "page.gpg").write_text("<html><title>404 Not Found</title></html>\n")
    (tmp_path / "folder").mkdir()
    text = f"stack: shop\nhosts:\n  one: {{address: 192.0.2.1}}\nbalancer: {balancer_line}\n"
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", tmp_path)
    assert [line for line in str(caught.value).splitlines() if f"hosts.yaml:4: {problem}" in line]


@pytest.mark.parametrize(
    ("balancer", "roles", "fine"),
    [
        ("{virtual_address: 192.0.2.9}", "[balancer]", True),
        ("{}", "[balancer]", False),
        ("{virtual_address: 192.0.2.9}", "[db]", False),
    ],
)
def test_an_interface_without_effect_is_refused(tmp_path: Path, balancer: str, roles: str, fine: bool) -> None:
    text = f"stack: shop\nhosts:\n  one: {{address: 192.0.2.1, public: 192.0.2.2, interface: ens5, roles: {roles}}}\n"
    with pytest.raises(InventoryError) as caught:
        inventories.parse(f"{text}balancer: {balancer}\n", "hosts.yaml", tmp_path)
    assert ("hosts.yaml:3: hosts.one.interface: only a balancer" in str(caught.value)) is not fine


def test_two_services_with_the_same_path_are_refused(tmp_path: Path) -> None:
    service = f"source: {tmp_path}, project: site"
    text = (
        "stack: shop\nhosts:\n  one: {address: 192.0.2.1}\nservices:\n"
        f"  web: {{{service}, port: 8000}}\n  api: {{{service}, port: 8001}}\n"
    )
    with pytest.raises(InventoryError, match=r"hosts\.yaml:6: services\.api\.path: / is already served by web"):
        inventories.parse(text, "hosts.yaml", tmp_path)
