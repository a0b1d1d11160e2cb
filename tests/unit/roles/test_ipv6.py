"""A stack with IPv6 addresses: the programs that read its configuration accept it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from plainstack.engine.declared import by_name
from plainstack.engine.desired import assemble
from plainstack.engine.resources import File
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.shipped import ROOT
from tests import inventories
from tests.unit.conftest import fake_vault
from tests.unit.roles.balancer_files import VRRP
from tests.unit.roles.real_nginx import running
from tests.waiting import PATIENCE

PRIVATE, PUBLIC = "fd57::", "2001:db8:3::"
KINDS = ("dual", "six")


def inventory(kind: str) -> str:
    """Return the default inventory with IPv6: beside its public IPv4 addresses (dual), or instead of all IPv4 (six)."""
    text = (ROOT / "hosts.yaml").read_text(encoding="utf-8")
    text = text.replace("interface: public0", "interface: public0, server_names: [shop.example]")
    text = text.replace("roles: [backup]", "roles: [backup, cache]")
    if kind == "dual":
        text = re.sub(r"(public: 192\.168\.3\.(\d+))", rf"\1, public6: '{PUBLIC}\2'", text)
        return re.sub(
            r"(virtual_address:) (192\.168\.3)\.230", rf"\1 [\2.229, \2.230, '{PUBLIC}229', '{PUBLIC}230']", text
        )
    text = re.sub(r"address: 192\.168\.57\.(\d+)", rf"address: '{PRIVATE}\1'", text)
    text = re.sub(r"public: 192\.168\.3\.(\d+)", rf"public6: '{PUBLIC}\1'", text)
    return re.sub(r"virtual_address: 192\.168\.3\.230", f"virtual_address: '{PUBLIC}230'", text)


@cache
def stack_of(kind: str) -> Stack:
    return inventories.parse(inventory(kind), "hosts.yaml", ROOT)


@cache
def files(kind: str) -> Mapping[str, Mapping[str, str]]:
    """Return the text of each file that a deploy writes, by host and path."""
    stack, roles = stack_of(kind), registry()
    wanted = assemble(stack, fake_vault(stack, by_name(stack, roles)), roles, stack.hosts)
    return {
        host: {
            item.path: item.content.decode()
            for resources in of_role.values()
            for item in resources
            if isinstance(item, File)
        }
        for host, of_role in wanted.items()
    }


def everywhere(kind: str) -> Iterator[tuple[str, str]]:
    for host, texts in files(kind).items():
        yield from ((f"{host}:{path}", text) for path, text in texts.items())


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_has_an_ipv6_address_without_brackets_before_a_port_or_in_a_url(kind: str) -> None:
    address = rf"(?:{PRIVATE}|{PUBLIC})\d+"
    # The names of the files that list an upstream's servers have no brackets: an include would read them as a pattern.
    wrong = re.compile(rf"(?<!\[)(?<!upstreams/)\b{address}:\d|//{address}|\b{address}/32\b|\b{address}/24\b")
    found = {place: wrong.findall(text) for place, text in everywhere(kind)}
    assert {place: words for place, words in found.items() if words} == {}
    assert any(re.search(rf"\[{address}\]", text) for _, text in everywhere(kind))


def test_no_file_of_a_stack_without_ipv4_contains_an_ipv4_address_of_a_host() -> None:
    assert [place for place, text in everywhere("six") if "192.168." in text] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_of_pg_hba_conf_admits_a_single_address(kind: str) -> None:
    access = files(kind)["db1"]["/etc/postgresql/17/main/pg_hba.conf"]
    networks = [line.split()[3] for line in access.splitlines() if line.startswith("hostssl")]
    assert networks
    assert {ip_network(network).num_addresses for network in networks} == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_certificate_names_the_addresses_that_clients_connect_to(kind: str) -> None:
    stack = stack_of(kind)
    names = by_name(stack, registry())
    from plainstack.roles import balancer, base

    host = stack.hosts["lb1"]
    assert {*map(str, host.addresses)} <= {*base.ROLE.certificates(stack, host)["lb1"]}
    assert f"{PUBLIC}230" in balancer.ROLE.certificates(stack, host)["site"]
    assert names


@pytest.mark.parametrize("kind", KINDS)
def test_the_packet_filter_opens_the_same_ports_to_users_of_both_ip_versions(kind: str) -> None:
    rules = files(kind)["lb1"]
    opened = [
        set(re.findall(r"-p (\S+ --dport \d+)", rules[f"/etc/iptables/plainstack.v{version}"])) for version in (4, 6)
    ]
    public = {"tcp --dport 80", "tcp --dport 443", "udp --dport 443"}
    assert public <= opened[0] & opened[1]
    peers = re.findall(r"-s (\S+) -p 112", rules["/etc/iptables/plainstack.v6"])
    assert peers == [f"{PUBLIC}232"]


def test_a_database_host_is_fenced_off_by_the_filter_of_its_own_ip_version() -> None:
    for kind, version, other, program in (("dual", 4, 6, "icmp-proto"), ("six", 6, 4, "icmp6-adm")):
        texts = files(kind)["db1"]
        assert "plainstack-fence" in texts[f"/etc/iptables/plainstack.v{version}"]
        assert "plainstack-fence" not in texts[f"/etc/iptables/plainstack.v{other}"]
        assert f"--reject-with {program}" in texts["/usr/local/sbin/plainstack-firewall"]


def test_hosts_with_addresses_of_different_ip_versions_are_refused() -> None:
    text = inventory("dual").replace("address: 192.168.57.14", f"address: '{PRIVATE}14'")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", ROOT)
    assert "hosts.app1.address: fd57::14 is not an IPv4 address like that of lb1" in str(caught.value)


def test_the_same_address_of_two_hosts_is_refused_however_it_is_written() -> None:
    text = inventory("six").replace(f"'{PRIVATE}14'", "'fd57:0:0::15'")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", ROOT)
    assert "fd57::15 is already the address of app1" in str(caught.value)


def run(*words: str, cwd: Path, text: str = "", fine: tuple[int, ...] = (0,)) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin"
    done = subprocess.run(
        words,
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert done.returncode in fine, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.programs
@pytest.mark.parametrize("kind", KINDS)
def test_iptables_accepts_the_rules_of_every_host(kind: str, tmp_path: Path) -> None:
    script = []
    for host, texts in files(kind).items():
        for version, program in ((4, "iptables"), (6, "ip6tables")):
            (tmp_path / f"{host}.{version}").write_text(texts[f"/etc/iptables/plainstack.v{version}"])
            script.append(f"{program}-restore --test {host}.{version}")
    # In a network namespace of its own: this machine's packet filter is not read.
    run("unshare", "-rn", "sh", "-ec", "\n".join(script), cwd=tmp_path)


@pytest.mark.programs
@pytest.mark.parametrize("kind", KINDS)
def test_keepalived_accepts_the_configuration_of_every_balancer(kind: str, tmp_path: Path) -> None:
    for name in ("check-proxy", "vip-owner"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    for host in ("lb1", "lb2"):
        path = tmp_path / host
        text = files(kind)[host][VRRP].replace("/etc/keepalived/", f"{tmp_path}/")
        # The keepalived of an earlier Debian release, which may be the one here, counts in whole seconds.
        path.write_text(text.replace("interval 0.5", "interval 1"))
        script = f"ip link add public0 type veth peer name other && ip link set public0 up && keepalived -t -f {path}"
        # Exit status 5 means that there are warnings but keepalived would run; those of this machine are expected.
        said = run("unshare", "-rn", "sh", "-ec", script, cwd=tmp_path, fine=(0, 5))
        assert not re.search(r"unknown|invalid|family|mismatch|ignor|not valid", said, re.I), said


@pytest.mark.programs
@pytest.mark.parametrize("kind", KINDS)
def test_prometheus_accepts_its_configuration_and_every_target(kind: str, tmp_path: Path) -> None:
    for path, text in files(kind)["mon1"].items():
        if path.startswith("/etc/prometheus/"):
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text.replace("/etc/prometheus/", f"{tmp_path}/etc/prometheus/"))
    run("promtool", "check", "config", "--syntax-only", str(tmp_path / "etc/prometheus/prometheus.yml"), cwd=tmp_path)
    targets = [
        target
        for path in (tmp_path / "etc/prometheus/targets").iterdir()
        if path.stem != "probe-ping"
        for group in yaml.safe_load(path.read_text())
        for target in group["targets"]
    ]
    assert len(targets) > 8
    valid = re.compile(r"(https://)?([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?(/\S*)?")
    assert [target for target in targets if not valid.fullmatch(target)] == []


@pytest.mark.programs
def test_a_balancer_passes_requests_on_to_hosts_with_ipv6_addresses(tmp_path: Path) -> None:
    text = inventory("six")
    text = re.sub(r"  web:\n(    .*\n)+", f"  web: {{kind: static, port: 8000, source: '{tmp_path}'}}\n", text)
    stack = inventories.parse(text, "hosts.yaml", ROOT)
    with running(stack, tmp_path) as edge:
        names = sorted(path.name for path in (tmp_path / "run/plainstack/upstreams").glob("*.conf"))
        assert [name for name in names if name != "serial.conf"] == [f"{PRIVATE}{n}:8000.conf" for n in (14, 15)]
        assert edge.status("https://shop.example/") == "200"
