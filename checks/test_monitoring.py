"""Prometheus scrapes the whole stack, its rules work, and alerts reach the Alertmanager."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from plainstack.engine.network import Network
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles import monitoring

ROLE = "monitoring"

_API = "http://127.0.0.1:9090/api/v1"
_PORTS = "9090 9093 9094 9115"
# A new target is scraped, and a new rule evaluated, within one interval.
_PATIENCE = 60

# Metrics that exist only while there is something to report.
_RARE = {
    "plainstack_synchronous_degraded",
    # The other machine may not admit the backup host yet; an alert says so.
    "plainstack_second_copy_ok",
    "plainstack_second_copy_until_timestamp_seconds",
    "plainstack_second_copy_files_until_timestamp_seconds",
    "plainstack_second_copy_restore_test_ok",
    "plainstack_second_copy_restore_test_refused",
    "plainstack_second_copy_restore_test_timestamp_seconds",
    # Only balancers with the certificate of an ACME authority have it; without it, the rules count days.
    "plainstack_site_certificate_lifetime_seconds",
}
_METRIC = re.compile(r"\bup\b|\b(?:alertmanager|angie|node|pg|plainstack|probe|prometheus|redis)_\w+")


def _ask(host: Any, path: str, settled: Callable[[Any], bool]) -> Any:
    """Return Prometheus' answer once `settled` accepts it, or the last one after _PATIENCE seconds."""
    end = time.monotonic() + _PATIENCE
    # Just after a start, Prometheus refuses connections and then requests: it still reads its data.
    retries = "--retry 60 --retry-delay 1 --retry-connrefused --retry-max-time 45"
    curl = f'systemctl is-active -q prometheus && set -- {retries}; curl -fsS -m 10 "$@" %s'
    while True:
        answer = json.loads(host.check_output(curl, f"{_API}/{path}"))["data"]
        if settled(answer) or time.monotonic() > end:
            return answer
        time.sleep(1)


def _rules(here: Host, network: Network) -> dict[str, str]:
    """Return the expression of every rule of this stack, by name."""
    files = [yaml.safe_load(file.content) for file in monitoring.alerting(here, network)]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules}


def test_every_target_of_prometheus_is_up(host: Any, here: Host, network: Network) -> None:
    wanted = {(job.name, target.labels["instance"]) for job in monitoring.jobs(here, network) for target in job.targets}

    def down(answer: Any) -> dict[tuple[str, str], str]:
        """Return the targets that are not up, with the reason."""
        seen = {(target["labels"]["job"], target["labels"]["instance"]): target for target in answer["activeTargets"]}
        bad = {key: target["lastError"] for key, target in seen.items() if target["health"] != "up"}
        return bad | dict.fromkeys(wanted - seen.keys(), "unknown to Prometheus")

    bad = down(_ask(host, "targets?state=active", lambda answer: not down(answer)))
    reasons = [f"{job} of {instance} ({reason})" for (job, instance), reason in bad.items()]
    assert not bad, f"Prometheus cannot read {'; '.join(reasons)}"


def test_every_rule_is_loaded_and_can_be_evaluated(host: Any, here: Host, network: Network) -> None:
    wanted = _rules(here, network)

    def bad(answer: Any) -> dict[str, str]:
        """Return the rules that do not work, with the reason."""
        loaded = {rule["name"]: rule for group in answer["groups"] for rule in group["rules"]}
        failing = {name: rule.get("lastError", "") for name, rule in loaded.items() if rule["health"] != "ok"}
        missing = dict.fromkeys(wanted.keys() - loaded.keys(), "not loaded")
        return failing | missing | dict.fromkeys(loaded.keys() - wanted.keys(), "not a rule of this stack")

    found = bad(_ask(host, "rules", lambda answer: not bad(answer)))
    reasons = [f"{name} ({reason or 'not evaluated yet'})" for name, reason in found.items()]
    assert not found, f"rules that do not work: {'; '.join(reasons)}"


def test_every_metric_that_a_rule_reads_exists(host: Any, here: Host, network: Network) -> None:
    """A rule that reads a missing metric would never fire, or always."""
    expressions = " ".join(_rules(here, network).values())
    wanted = set(_METRIC.findall(re.sub(r'"[^"]*"', "", expressions))) - _RARE
    known = _ask(host, "label/__name__/values", lambda answer: wanted <= set(answer))
    missing = sorted(wanted - set(known))
    assert not missing, f"rules read metrics that Prometheus does not have: {', '.join(missing)}"


def test_alerts_reach_the_alertmanager(host: Any) -> None:
    """Look for the watchdog, an alert that always fires."""
    query = "amtool alert query --alertmanager.url=http://127.0.0.1:9093 --output=simple alertname=Watchdog"
    found = host.run(f"timeout {_PATIENCE} sh -c 'until {query} | grep -q Watchdog; do sleep 0.5; done'")
    assert found.succeeded, f"no watchdog in {_PATIENCE} s: " + host.run(f"curl -sS {_API}/alertmanagers").stdout


def test_no_other_host_reaches_prometheus_or_the_alertmanager(
    host: Any, here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    """They have no authentication and are reached through an SSH tunnel."""
    listening = host.check_output(f"for port in {_PORTS}; do ss -Hltn sport = :$port; done | awk '{{print $4}}'")
    open_to_others = [line for line in listening.splitlines() if line.rpartition(":")[0] != "127.0.0.1"]
    assert listening, f"nothing listens on the ports {_PORTS}"
    assert not open_to_others, f"these should listen on 127.0.0.1 only: {', '.join(open_to_others)}"
    others = [name for name in stack.hosts if name != here.name]
    if not others:
        pytest.skip("the stack has no other host")
    knock = (
        f'for port in {_PORTS}; do timeout 2 bash -c "</dev/tcp/{here.address}/$port" 2>/dev/null && echo $port & done'
    )
    reached = peer(others[0]).check_output(f"{knock}; wait").split()
    assert not reached, f"{others[0]} reaches the ports {', '.join(reached)} of {here.name}"
