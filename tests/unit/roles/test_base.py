"""What role base promises on every host, as seen in its rendered resources."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from plainstack.engine.resources import Command, File, Link, Unit, Validation
from plainstack.inventory.stack import Stack
from plainstack.roles import base
from plainstack.roles.base import Base
from plainstack.secrets.values import Vault
from plainstack.services.edge import Balancer
from tests import inventories

SSHD = "/etc/ssh/sshd_config.d/00-plainstack.conf"
SUDOERS = "/etc/sudoers.d/plainstack-operator"
PROXY = "/etc/apt/apt.conf.d/10plainstack-proxy"


def files_of(stack: Stack, vault: Vault, host: str = "db1") -> dict[str, File]:
    return {item.path: item for item in inventories.wanted(base.ROLE, stack, host, vault) if isinstance(item, File)}


def text_of(stack: Stack, vault: Vault, path: str, host: str = "db1") -> str:
    return files_of(stack, vault, host)[path].content.decode()


def settings_of(text: str) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return {line[0]: line[1] for line in lines}


def as_operator(stack: Stack, user: str) -> Stack:
    return stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"user": user})})


def test_every_host_resolves_every_host_and_itself(stack: Stack, vault: Vault) -> None:
    for name in stack.hosts:
        hosts = text_of(stack, vault, "/etc/hosts", name).splitlines()
        assert "127.0.0.1 localhost" in hosts
        assert any(line.startswith("::1 localhost") for line in hosts)
        assert {f"{host.address} {host.name}" for host in stack.hosts.values()} <= set(hosts)
        assert text_of(stack, vault, "/etc/hostname", name) == f"{name}\n"


def test_the_host_name_takes_effect(stack: Stack, vault: Vault) -> None:
    commands = [item for item in inventories.wanted(base.ROLE, stack, "db1", vault) if isinstance(item, Command)]
    assert '[ "$name" = db1 ]' in next(item for item in commands if item.name == "hostname").unless


def test_the_sites_real_names_resolve_to_the_virtual_address(stack: Stack, vault: Vault) -> None:
    names = ("shop.example", "www.shop.example", "*.shop.example", "_")
    site = stack.settings(Balancer).model_copy(
        update={"server_names": names, "virtual_address": ip_address("192.168.3.230")},
    )
    hosts = text_of(stack.model_copy(update={"balancer": site}), vault, "/etc/hosts")
    assert hosts.splitlines()[-1] == "192.168.3.230 shop.example www.shop.example"
    without = site.model_copy(update={"virtual_address": None})
    assert "shop.example" not in text_of(stack.model_copy(update={"balancer": without}), vault, "/etc/hosts")


def test_clocks_are_in_utc(stack: Stack, vault: Vault) -> None:
    links = [item for item in inventories.wanted(base.ROLE, stack, "db1", vault) if isinstance(item, Link)]
    assert links == [Link(path="/etc/localtime", target="/usr/share/zoneinfo/Etc/UTC", vital=True)]


def test_sshd_accepts_no_passwords_and_drops_silent_clients(stack: Stack, vault: Vault) -> None:
    settings = settings_of(text_of(stack, vault, SSHD))
    assert settings["PasswordAuthentication"] == "no"
    assert settings["KbdInteractiveAuthentication"] == "no"
    assert settings["X11Forwarding"] == "no"
    assert (settings["ClientAliveInterval"], settings["ClientAliveCountMax"]) == ("5", "3")
    assert int(settings["MaxSessions"]) >= 30
    assert "Port" not in settings


@pytest.mark.parametrize(("user", "root_log_in"), [("root", "prohibit-password"), ("deploy", "no")])
def test_root_can_log_in_only_if_the_operator_is_root_and_never_by_password(
    stack: Stack, vault: Vault, user: str, root_log_in: str
) -> None:
    assert settings_of(text_of(as_operator(stack, user), vault, SSHD))["PermitRootLogin"] == root_log_in


def test_sshd_listens_on_the_port_in_the_inventory(stack: Stack, vault: Vault) -> None:
    moved = stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"port": 2222})})
    assert settings_of(text_of(moved, vault, SSHD))["Port"] == "2222"
    assert next(iter(base.opens(moved, moved.hosts["db1"]))).port == 2222


def test_an_sshd_change_is_validated_and_guarded(stack: Stack, vault: Vault) -> None:
    wanted = inventories.wanted(base.ROLE, stack, "db1", vault)
    unit = next(item for item in wanted if isinstance(item, Unit) and item.name == "ssh.service")
    assert unit.guarded
    assert unit.reload_on == (SSHD,)
    assert any(isinstance(item, Validation) and SSHD in item.reads and "sshd -t" in item.run for item in wanted)


def test_an_operator_who_is_not_root_keeps_passwordless_sudo(stack: Stack, vault: Vault) -> None:
    wanted = inventories.wanted(base.ROLE, as_operator(stack, "deploy"), "db1", vault)
    sudoers = next(item for item in wanted if isinstance(item, File) and item.path == SUDOERS)
    assert sudoers.content.decode().splitlines()[-1] == "deploy ALL=(ALL:ALL) NOPASSWD: ALL"
    assert sudoers.mode == 0o440
    assert any(isinstance(item, Validation) and "visudo -c" in item.run and SUDOERS in item.reads for item in wanted)
    assert SUDOERS not in files_of(stack, vault)


def test_an_apt_proxy_is_set_before_the_first_package_and_only_if_the_inventory_names_one(
    stack: Stack, vault: Vault
) -> None:
    assert PROXY not in files_of(stack, vault)
    proxied = stack.model_copy(
        update={"base": stack.settings(Base).model_copy(update={"apt_proxy": "http://192.0.2.1:3142"})}
    )
    proxy = files_of(proxied, vault)[PROXY]
    assert proxy.early
    assert 'Acquire::http::Proxy "http://192.0.2.1:3142";' in proxy.content.decode()


def test_only_security_updates_are_automatic_and_the_database_is_excluded(stack: Stack, vault: Vault) -> None:
    updates = text_of(stack, vault, "/etc/apt/apt.conf.d/52plainstack-unattended-upgrades")
    assert "#clear Unattended-Upgrade::Origins-Pattern;" in updates
    origins = [line.strip() for line in updates.splitlines() if "origin=" in line]
    assert origins == ['"origin=Debian,codename=${distro_codename}-security,label=Debian-Security";']
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in updates
    assert '"postgresql";' in updates


def test_the_journal_survives_a_reboot_and_has_a_size_limit(stack: Stack, vault: Vault) -> None:
    journal = text_of(stack, vault, "/etc/systemd/journald.conf.d/10-plainstack.conf")
    assert "Storage=persistent" in journal
    assert "SystemMaxUse=" in journal


def test_only_root_and_one_group_can_read_the_hosts_key(stack: Stack, vault: Vault) -> None:
    files = files_of(stack, vault, "app1")
    key = files["/etc/plainstack/tls/host.key"]
    assert (key.mode, key.owner, key.group, key.secret) == (0o640, "root", "ssl-cert", True)
    assert key.content.decode() == vault.certificate("app1").key.reveal()
    assert files["/etc/plainstack/tls/host.crt"].content.decode() == vault.certificate("app1").chain
    assert files["/etc/plainstack/tls/ca.crt"].content.decode() == vault.authority


def test_the_node_exporter_answers_only_the_monitoring_hosts(stack: Stack, vault: Vault) -> None:
    web = text_of(stack, vault, "/etc/prometheus-node-exporter/web.yml")
    assert "client_auth_type: RequireAndVerifyClientCert" in web
    assert "client_allowed_sans: [mon1]" in web
    opening = next(
        opening for opening in inventories.network(stack).allowed(stack.hosts["db1"]) if opening.port == 9100
    )
    assert opening.sources == ("192.168.57.13",)


def test_the_node_exporter_sees_the_root_filesystem_of_a_container(stack: Stack, vault: Vault) -> None:
    arguments = text_of(stack, vault, "/etc/default/prometheus-node-exporter")
    excluded = next(line for line in arguments.splitlines() if "fs-types-exclude" in line)
    assert "overlay" not in excluded
    assert "tmpfs" not in excluded.replace("devtmpfs", "")
