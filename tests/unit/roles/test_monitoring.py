"""What the monitoring host watches, where it sends alerts, and which hosts may query it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from plainstack.engine.network import Network
from plainstack.engine.resources import File, Package, Preseed, Unit
from plainstack.engine.role import Role
from plainstack.engine.watching import Job, on_port
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import monitoring
from plainstack.secrets.values import Certificate, Secret, Vault
from plainstack.services.edge import Balancer, GivenCertificate
from tests import inventories
from tests.waiting import PATIENCE

INVENTORY = """\
stack: shop
hosts:
  lb1: {address: 192.0.2.16, public: 198.51.100.16, roles: [balancer]}
  lb2: {address: 192.0.2.17, public: 198.51.100.17, roles: [balancer]}
  app1: {address: 192.0.2.14, roles: [app]}
  db1: {address: 192.0.2.11, roles: [db]}
  db2: {address: 192.0.2.12, roles: [db]}
  mon1: {address: 192.0.2.13, roles: [monitoring]}
  bak1: {address: 192.0.2.18, roles: [backup]}
balancer: {virtual_address: 198.51.100.30}
services: {web: {source: ".", project: site, health: /healthz}}
database: {name: shop}
"""
ALONE = "stack: shop\nhosts: {mon1: {address: 192.0.2.13, roles: [monitoring]}, box: {address: 192.0.2.14}}\n"


def parse(text: str, folder: Path) -> Stack:
    return inventories.parse(text, "hosts.yaml", folder)


def files(stack: Stack) -> dict[str, File]:
    return {resource.path: resource for resource in resources(stack) if isinstance(resource, File)}


def resources(stack: Stack) -> list[Any]:
    certificates = {name: Certificate("CHAIN\n", Secret(name, "KEY\n")) for name in (*stack.hosts, "site")}
    vault = Vault(passwords={}, certificates=certificates, authority="AUTHORITY\n")
    return list(monitoring.desired(stack, stack.with_role("monitoring")[0], vault, inventories.network(stack)))


def read(stack: Stack, path: str) -> Any:
    return yaml.safe_load(files(stack)[path].content)


def targets(stack: Stack, job: str) -> dict[str, str]:
    """Return a job's addresses by the host in the label `instance`."""
    groups = read(stack, f"/etc/prometheus/targets/{job}.yml")
    return {group["labels"]["instance"]: address for group in groups for address in group["targets"]}


def test_every_host_is_monitored_by_name_over_mutual_tls(tmp_path: Path) -> None:
    stack = parse(INVENTORY, tmp_path)
    assert targets(stack, "node") == {host.name: f"{host.address}:9100" for host in stack.hosts.values()}
    jobs = {job["job_name"]: job for job in read(stack, "/etc/prometheus/prometheus.yml")["scrape_configs"]}
    for name in ("node", "postgres", "nginx"):
        assert jobs[name]["scheme"] == "https"
        assert set(jobs[name]["tls_config"]) == {"ca_file", "cert_file", "key_file"}


def test_exporters_are_scraped_on_the_hosts_of_their_roles(tmp_path: Path) -> None:
    stack = parse(INVENTORY, tmp_path)
    assert targets(stack, "postgres") == {"db1": "192.0.2.11:9187", "db2": "192.0.2.12:9187"}
    assert targets(stack, "nginx") == {"lb1": "192.0.2.16:9113", "lb2": "192.0.2.17:9113"}
    angie = parse(INVENTORY.replace("{virtual", "{engine: angie, angie_key: key, virtual"), keyed(tmp_path))
    assert targets(angie, "angie") == {"lb1": "192.0.2.16:9113", "lb2": "192.0.2.17:9113"}
    assert "/etc/prometheus/targets/nginx.yml" not in files(angie)


def keyed(folder: Path) -> Path:
    (folder / "key").write_bytes((Path(__file__).parents[1] / "recorded/apt/signer.gpg").read_bytes())
    return folder


def test_the_application_is_probed_through_each_balancer_by_the_name_that_users_type(tmp_path: Path) -> None:
    stack = parse(INVENTORY, tmp_path)
    assert targets(stack, "probe-balancer") == {
        "lb1": "https://192.0.2.16/healthz",
        "lb2": "https://192.0.2.17/healthz",
    }
    named = parse(INVENTORY.replace("{virtual", "{server_names: [shop.example], virtual"), tmp_path)
    for wanted, of in (("198.51.100.30", stack), ("shop.example", named)):
        for job in ("probe-balancer", "probe-port"):
            groups = read(of, f"/etc/prometheus/targets/{job}.yml")
            assert {group["labels"]["__param_hostname"] for group in groups} == {wanted}


def test_the_virtual_address_is_probed_only_from_a_host_in_its_network(tmp_path: Path) -> None:
    """A host outside that network may have no route to the address, and would report a site that is up as down."""
    outside = parse(INVENTORY, tmp_path)
    assert "/etc/prometheus/targets/probe-site.yml" not in files(outside)
    assert 'job="probe-balancer"' in site_down(outside)
    inside = parse(INVENTORY.replace("192.0.2.13,", "192.0.2.13, public: 198.51.100.13,"), tmp_path)
    assert targets(inside, "probe-site") == {"198.51.100.30": "https://198.51.100.30/healthz"}
    assert 'job="probe-site"' in site_down(inside)


def site_down(stack: Stack) -> str:
    rules = read(stack, "/etc/prometheus/rules/balancer.yml")["groups"][0]["rules"]
    return next(str(rule["expr"]) for rule in rules if rule["alert"] == "SiteDown")


def test_a_stack_of_plain_hosts_gets_no_rules_about_absent_roles(tmp_path: Path) -> None:
    stack = parse(ALONE, tmp_path)
    rules = {Path(path).stem for path in files(stack) if "/rules/" in path}
    assert rules == {"host", "certificates", "meta"}
    assert "/etc/prometheus/site-ca.crt" not in files(stack)


def test_a_single_database_host_gets_no_rules_about_replicas(tmp_path: Path) -> None:
    stack = parse(INVENTORY.replace("  db2: {address: 192.0.2.12, roles: [db]}\n", ""), tmp_path)
    alerts = {rule["alert"] for rule in read(stack, "/etc/prometheus/rules/db.yml")["groups"][0]["rules"]}
    assert "NoPrimary" in alerts
    assert not alerts & {"ReplicaMissing", "TwoPrimaries", "ReplicaLagSeconds", "SynchronousDegraded"}


def test_intervals_retention_and_age_limits_come_from_the_inventory(tmp_path: Path) -> None:
    keys = "monitoring: {scrape_interval: 5, retention: 90d}\nbackup: {max_age_hours: 170}\n"
    stack = parse(INVENTORY + keys, tmp_path)
    assert read(stack, "/etc/prometheus/prometheus.yml")["global"]["scrape_interval"] == "5s"
    assert read(stack, "/etc/prometheus/prometheus.yml")["global"]["scrape_timeout"] == "5s"
    assert b"retention.time=90d" in files(stack)["/etc/default/prometheus"].content
    assert b"> 170 * 3600" in files(stack)["/etc/prometheus/rules/backup.yml"].content


def test_only_the_host_itself_may_query_the_daemons(tmp_path: Path) -> None:
    stack = parse(INVENTORY, tmp_path)
    for name, port in (("prometheus", 9090), ("prometheus-alertmanager", 9093), ("prometheus-blackbox-exporter", 9115)):
        assert f"--web.listen-address=127.0.0.1:{port}" in files(stack)[f"/etc/default/{name}"].content.decode()
    assert b'--cluster.listen-address="' in files(stack)["/etc/default/prometheus-alertmanager"].content
    assert list(monitoring.ROLE.opens(stack, stack.hosts["mon1"])) == []


@pytest.mark.programs
def test_alerts_go_to_the_webhook_and_its_address_is_never_shown(tmp_path: Path) -> None:
    path = "/etc/prometheus/alertmanager.yml"
    stack = parse(INVENTORY + 'monitoring: {webhook: "https://chat.example/hook?token=a&b=%27"}\n', tmp_path)
    config = read(stack, path)
    assert config["route"]["receiver"] == "webhook"
    hooks = {receiver["name"]: receiver.get("webhook_configs") for receiver in config["receivers"]}
    assert hooks["webhook"] == [{"url": "https://chat.example/hook?token=a&b=%27", "send_resolved": True}]
    assert files(stack)[path].secret
    assert files(stack)[path].mode == 0o640
    check_config(files(stack)[path], tmp_path)
    with pytest.raises(InventoryError, match=r"hosts.yaml:13: monitoring.webhook"):
        parse(INVENTORY + "monitoring: {webhook: chat.example}\n", tmp_path)


@pytest.mark.programs
def test_without_a_webhook_alerts_are_only_listed(tmp_path: Path) -> None:
    stack = parse(INVENTORY, tmp_path)
    config = read(stack, "/etc/prometheus/alertmanager.yml")
    assert config["receivers"] == [{"name": config["route"]["receiver"]}]
    check_config(files(stack)["/etc/prometheus/alertmanager.yml"], tmp_path)


def test_a_host_that_is_down_causes_one_alert(tmp_path: Path) -> None:
    rules = read(parse(INVENTORY, tmp_path), "/etc/prometheus/alertmanager.yml")["inhibit_rules"]
    rule = {"source_matchers": ["alertname = HostDown"], "target_matchers": ["alertname != HostDown"]}
    assert rule | {"equal": ["instance"]} in rules


def test_the_probes_expect_the_provided_certificate(tmp_path: Path) -> None:
    """Its issuer may be unknown to the hosts, so the probes require exactly the given certificate."""
    stack = parse(INVENTORY, tmp_path)
    assert files(stack)["/etc/prometheus/site-ca.crt"].content == b"AUTHORITY\n"
    chain = "-----BEGIN CERTIFICATE-----\nGIVEN\n-----END CERTIFICATE-----\n"
    (tmp_path / "site.crt").write_text(f"friendlyName: Z\u00fcrich\n{chain}", encoding="utf-8")
    given = stack.settings(Balancer).model_copy(
        update={"tls": GivenCertificate(certificate=Path("site.crt"), key=Path("k"))}
    )
    stack = stack.model_copy(update={"balancer": given})
    assert files(stack)["/etc/prometheus/site-ca.crt"].content.decode() == chain


def test_the_blackbox_exporter_is_allowed_to_ping(tmp_path: Path) -> None:
    wanted = resources(parse(ALONE, tmp_path))
    assert Package(name="prometheus-blackbox-exporter") in wanted
    answers = [resource for resource in wanted if isinstance(resource, Preseed)]
    assert [(answer.question, answer.value) for answer in answers] == [
        ("prometheus-blackbox-exporter/want_cap_net_raw", "true")
    ]


def test_new_targets_need_no_reload(tmp_path: Path) -> None:
    """Prometheus itself watches the files with its targets."""
    units = [resource for resource in resources(parse(INVENTORY, tmp_path)) if isinstance(resource, Unit)]
    assert not any("targets" in path for unit in units for path in (*unit.reload_on, *unit.restart_on))


def check_config(file: File, folder: Path) -> None:
    if shutil.which("amtool") is None:
        pytest.fail("amtool is not installed: run `make test`, which installs it")
    (folder / "alertmanager.yml").write_bytes(file.content)
    words = ["amtool", "check-config", "alertmanager.yml"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_role_is_monitored_and_alerted_on_as_it_declares(tmp_path: Path, registry: Mapping[str, Role]) -> None:
    """The role monitoring does not mention the other role."""
    stack = parse(ALONE, tmp_path)
    cache = Role(
        name="cache",
        desired=lambda *_: (),
        everywhere=True,
        scrapes=lambda stack, _: [Job("cache", on_port(stack.hosts.values(), 9150), tls=True)],
        rules=lambda *_: [File(path="/etc/prometheus/rules/cache.yml", content=b"groups: []\n")],
    )
    network = Network(stack, {**registry, "cache": cache})
    certificates = {name: Certificate("CHAIN\n", Secret(name, "KEY\n")) for name in stack.hosts}
    vault = Vault(passwords={}, certificates=certificates, authority="AUTHORITY\n")
    wanted = list(monitoring.ROLE.desired(stack, stack.hosts["mon1"], vault, network))
    made = {item.path: item.content.decode() for item in wanted if isinstance(item, File)}
    assert "192.0.2.14:9150" in made["/etc/prometheus/targets/cache.yml"]
    assert "  - job_name: cache\n" in made["/etc/prometheus/prometheus.yml"]
    assert made["/etc/prometheus/rules/cache.yml"] == "groups: []\n"
