"""The names, the certificate and the TLS settings that a balancer serves."""

from __future__ import annotations

import re
from pathlib import Path

from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.secrets.values import Vault
from plainstack.services.edge import GivenCertificate
from tests.unit.roles.balancer_files import IPV6, SITE, changed, files, locations, servers, text


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
    names = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "X-Request-ID")
    assert all(f"\n    add_header {header} $" in site for header in names)
    # A location with an add_header of its own loses all others.
    own = [each for each in locations(site).values() if "add_header" in each]
    assert len(own) == 1, "that of the static files"
    assert all(f"        add_header {header} $" in own[0] for header in names)


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
