"""The addresses of balancers: what they offer, the virtual address, and what the inventory refuses."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from plainstack.engine.resources import Validation
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.secrets.values import Vault
from tests import inventories
from tests.unit.roles.balancer_files import VRRP, changed, resources, text


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
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", tmp_path)
    assert "hosts.yaml:5: services.web.path: / is also that of services.api.path" in str(caught.value)
    assert "hosts.yaml:6: services.api.path: / is already that of services.web.path" in str(caught.value)
