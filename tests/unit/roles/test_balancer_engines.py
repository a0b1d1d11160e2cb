"""Both engines of a balancer: how a change reaches them, their metrics, and what is different with Angie."""

from __future__ import annotations

import re
from pathlib import Path

from plainstack.engine.resources import Absent, Package, Validation
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import ENGINES
from plainstack.secrets.values import Vault
from plainstack.services.edge import Balancer
from tests.unit.roles.balancer_files import (
    KEY,
    SITE,
    STATUS,
    UPSTREAMS,
    angie,
    changed,
    files,
    resources,
    servers,
    text,
    unit,
)


def test_an_expired_certificate_and_an_invalid_configuration_stop_the_deploy(stack: Stack, vault: Vault) -> None:
    checks = {item.name: item for item in resources(stack, vault) if isinstance(item, Validation)}
    assert "-checkend 0" in checks["site certificate"].run
    script = checks["nginx configuration"].run
    assert script.startswith(f"{UPSTREAMS} prepare\nsaid=$(nginx -t -q -c /etc/nginx/nginx.conf 2>&1) || {{")
    for path in (SITE, STATUS, "/etc/nginx/nginx.conf", "/etc/plainstack/tls/site.crt", "/etc/plainstack/tls/site.key"):
        assert path.startswith(checks["nginx configuration"].reads)


def test_a_change_reloads_and_never_restarts_and_the_reload_is_verified(stack: Stack, vault: Vault) -> None:
    before, after = (unit(each, vault, "nginx.service") for each in (stack, changed(stack, max_body="99m")))
    assert before.restart_on == ()
    assert {SITE, STATUS, "/etc/nginx/nginx.conf", "/etc/plainstack/tls/site.crt"} <= set(before.reload_on)
    assert before.health != after.health
    generation = re.search(r"= (\w+) \]", after.health)
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


def test_the_default_site_of_the_package_is_removed(stack: Stack, vault: Vault, tmp_path: Path) -> None:
    for each in (stack, angie(stack, tmp_path)):
        engine = each.settings(Balancer).engine
        assert Absent(path=ENGINES[engine].default_site) in resources(each, vault)
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
