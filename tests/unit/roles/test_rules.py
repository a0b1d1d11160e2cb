"""The alert rules, checked by Prometheus' own tools: tests/rules/ says when each alert must fire and when not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from plainstack.inventory.stack import Stack
from plainstack.roles import monitoring
from tests import inventories
from tests.waiting import PATIENCE

pytestmark = pytest.mark.programs

TESTS = Path(__file__).parents[2] / "rules"
CASES = sorted(TESTS.glob("*.yml"))
ALWAYS_FIRES = "Watchdog"

INVENTORY = """\
stack: rules
hosts:
  lb1: {address: 203.0.113.16, public: 192.0.2.16, roles: [balancer]}
  lb2: {address: 203.0.113.17, public: 192.0.2.17, roles: [balancer]}
  app1: {address: 203.0.113.14, roles: [app]}
  db1: {address: 203.0.113.11, roles: [db]}
  db2: {address: 203.0.113.12, roles: [db]}
  db3: {address: 203.0.113.19, roles: [db]}
  mon1: {address: 203.0.113.13, public: 192.0.2.13, roles: [monitoring]}
  bak1: {address: 203.0.113.18, roles: [backup]}
  c1: {address: 203.0.113.21, roles: [cache]}
  c2: {address: 203.0.113.22, roles: [cache]}
  c3: {address: 203.0.113.23, roles: [cache]}
balancer:
  engine: ENGINE
  angie_key: key
  virtual_address: 192.0.2.230
  server_names: [shop.example]
  tls: acme
  acme: {email: ops@shop.example}
services:
  web:
    source: "."
    project: site
    writable: [{path: media, backup: true}]
    routes: [{path: /, cache: {ttl: 60}}]
database: {name: shop}
backup:
  second_copy:
    to: backups@203.0.113.50:/srv/shop
    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
"""


def tool(*words: str, cwd: Path) -> None:
    """Run one of Prometheus' tools; if it fails, fail the test with its output."""
    if shutil.which(words[0]) is None:
        pytest.fail(f"{words[0]} is not installed: run `make test`, which installs it")
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"


def stack_with(engine: str, folder: Path) -> Stack:
    (folder / "key").write_bytes((Path(__file__).parents[1] / "recorded/apt/signer.gpg").read_bytes())
    return inventories.parse(INVENTORY.replace("ENGINE", engine), "hosts.yaml", folder)


def rule_files(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the rendered rule files by name."""
    rendered = monitoring.alerting(stack.with_role("monitoring")[0], inventories.network(stack))
    return {Path(file.path).name: yaml.safe_load(file.content) for file in rendered}


def alerts(stack: Stack) -> list[dict[str, Any]]:
    groups = [group for file in rule_files(stack).values() for group in file["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("engine", ["nginx", "angie"])
def test_alerts_fire_when_they_should_and_not_otherwise(engine: str, tmp_path: Path) -> None:
    for name, content in rule_files(stack_with(engine, tmp_path)).items():
        for folder in ("whole", "rules"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(yaml.safe_dump(content))
            # promtool compares all annotations; in the cases, the long ones would hide what is tested.
            for group in content["groups"]:
                for rule in group["rules"]:
                    rule.get("annotations", {}).pop("description", None)
    cases = [case for case in CASES if (case.stem == "angie") == (engine == "angie")]
    for case in cases:
        shutil.copy(case, tmp_path)
    tool("promtool", "test", "rules", *(case.name for case in cases), cwd=tmp_path)


@pytest.mark.parametrize("engine", ["nginx", "angie"])
def test_every_alert_has_one_case_that_fires_it_and_one_that_does_not(engine: str, tmp_path: Path) -> None:
    fires: set[str] = set()
    silent = {ALWAYS_FIRES}
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            for expected in test["alert_rule_test"]:
                (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    wanted = {rule["alert"] for rule in alerts(stack_with(engine, tmp_path))}
    assert wanted <= fires
    assert wanted <= silent


@pytest.mark.parametrize("engine", ["nginx", "angie"])
def test_every_alert_states_its_severity_the_problem_and_what_to_type_next(engine: str, tmp_path: Path) -> None:
    for rule in alerts(stack_with(engine, tmp_path)):
        assert rule["labels"]["severity"] in ("critical", "warning", "none"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert "`" in rule["annotations"]["description"], rule["alert"]
        # What a program writes to its standard error has one priority in the journal, however serious it is.
        assert not re.search(r"journalctl [^`]*-p ", rule["annotations"]["description"]), rule["alert"]


@pytest.mark.parametrize("engine", ["nginx", "angie"])
def test_promtool_accepts_the_rules_without_a_warning(engine: str, tmp_path: Path) -> None:
    stack = stack_with(engine, tmp_path)
    files = list(monitoring.alerting(stack.with_role("monitoring")[0], inventories.network(stack)))
    for file in files:
        (tmp_path / Path(file.path).name).write_bytes(file.content)
    names = [Path(file.path).name for file in files]
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *names, cwd=tmp_path)
