"""What stops a deploy before it changes a host: an unsupported system, an unrelated cluster, removals by apt."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine import preflight
from plainstack.engine.observed import Observed
from plainstack.engine.resources import File, Package, Resource
from plainstack.engine.role import Finding, Role
from plainstack.inventory.stack import Stack
from plainstack.roles import base
from plainstack.roles.db import seen as seen_by_db

DEBIAN = {"os": "debian", "os_version": "13", "os_name": "Debian GNU/Linux 13 (trixie)"}
GOOD = {**DEBIAN, "machine": "x86_64", "systemd": "yes"}


def reported(stack: Stack, facts: Mapping[str, str]) -> list[str]:
    return [finding.text for finding in base.findings(stack, stack.hosts["db1"], Observed(facts=facts))]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_debian_13_on_amd64_and_arm64_is_supported(stack: Stack, machine: str) -> None:
    assert reported(stack, {**GOOD, "machine": machine}) == []


@pytest.mark.parametrize(
    ("system", "version", "name"),
    [
        ("debian", "12", "Debian GNU/Linux 12 (bookworm)"),
        ("debian", "forky", "Debian GNU/Linux forky/sid"),
        ("ubuntu", "24.04", "Ubuntu 24.04 LTS"),
        ("linuxmint", "13", "A derivative 13"),
    ],
)
def test_another_system_is_refused_by_name(stack: Stack, system: str, version: str, name: str) -> None:
    (sentence,) = reported(stack, {**GOOD, "os": system, "os_version": version, "os_name": name})
    assert sentence.startswith(f"runs {name}: Plainstack supports Debian 13 (trixie)")


def test_other_architectures_and_init_systems_are_refused(stack: Stack) -> None:
    assert reported(stack, {**GOOD, "machine": "armv7l"}) == [
        "is a machine of type armv7l: Plainstack supports amd64 and arm64"
    ]
    assert "does not run systemd" in reported(stack, {key: value for key, value in GOOD.items() if key != "systemd"})[0]
    assert "an unknown system" in reported(stack, {"machine": "x86_64"})[0]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n', ("debian", "13")),
        ('ID=debian\nVERSION_CODENAME=forky\nPRETTY_NAME="Debian GNU/Linux forky/sid"\n', ("debian", "forky")),
        ('ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu"\n', ("ubuntu", "24.04")),
    ],
)
def test_the_system_is_read_from_os_release(
    stack: Stack, tmp_path: Path, release: str, expected: tuple[str, str]
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(release)
    snippet = base.facts(stack, stack.hosts["db1"])
    script = f"ROOT={tmp_path}\n{snippet}"
    lines = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    facts = dict(line.partition("=")[::2] for line in lines)
    assert (facts["os"], facts["os_version"]) == expected
    assert facts["machine"]


def clusters(stack: Stack, tmp_path: Path, *names: str, audit: str = "") -> list[str]:
    for name in names:
        (tmp_path / "var/lib/postgresql" / name).mkdir(parents=True)
        (tmp_path / "var/lib/postgresql" / name / "PG_VERSION").write_text("17\n")
    if audit:
        (tmp_path / "var/log/plainstack").mkdir(parents=True)
        (tmp_path / "var/log/plainstack/audit.jsonl").write_text(audit)
    script = f"ROOT={tmp_path}\n{seen_by_db.CLUSTERS}"
    lines = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout.splitlines()
    facts = dict(line.partition("=")[::2] for line in lines)
    return [finding.text for finding in seen_by_db.findings(stack, stack.hosts["db1"], Observed(facts=facts))]


@pytest.mark.programs
def test_a_database_cluster_that_plainstack_did_not_create_is_refused_by_name(stack: Stack, tmp_path: Path) -> None:
    assert [text.split()[1] for text in clusters(stack, tmp_path, "17/main", "15/main")] == [
        "/var/lib/postgresql/15/main",
        "/var/lib/postgresql/17/main",
    ]


@pytest.mark.programs
def test_a_cluster_left_from_an_earlier_assignment_of_the_role_is_accepted(stack: Stack, tmp_path: Path) -> None:
    """The data stays when a host loses the role, and is used again when it gets the role back."""
    assert clusters(stack, tmp_path, "17/main", audit='{"who": "me", "role": "db", "actions": []}\n') == []


@pytest.mark.programs
def test_a_host_without_a_cluster_is_free(stack: Stack, tmp_path: Path) -> None:
    assert clusters(stack, tmp_path) == []


def role(*findings: Finding) -> dict[str, Role]:
    return {"base": Role(name="base", desired=lambda *_: (), everywhere=True, findings=lambda *_: findings)}


def test_refusals_name_their_host_and_only_selected_roles_can_refuse(stack: Stack) -> None:
    roles = role(Finding("no"), Finding("by the way", refused=False))
    seen = {"db1": Observed()}
    wanted: dict[str, Mapping[str, list[Resource]]] = {"db1": {"base": []}}
    assert preflight.refusals(stack, roles, wanted, seen) == ["db1: no"]
    assert preflight.refusals(stack, roles, {"db1": {}}, seen) == []


def test_a_removal_by_apt_without_consent_is_refused_by_name(stack: Stack) -> None:
    seen = {"db1": Observed(removes=("chrony", "exim4"))}
    wanted: dict[str, Mapping[str, list[Resource]]] = {"db1": {"base": [Package(name="postfix", replaces=("exim4",))]}}
    (sentence,) = preflight.refusals(stack, role(), wanted, seen)
    assert sentence.startswith("db1: to install what is missing, apt would remove chrony. Remove it yourself")


def test_a_note_names_packages_that_apt_does_not_know_unless_the_deploy_adds_a_source(stack: Stack) -> None:
    seen = {"db1": Observed(unknown=("python3-psycogp",))}
    packages: list[Resource] = [Package(name="python3-psycogp")]
    (note,) = preflight.notes(stack, role(), {"db1": {"base": packages}}, seen, {})
    assert note.startswith("db1: apt does not know python3-psycogp: see whether the spelling is right")
    source = File(path="/etc/apt/sources.list.d/angie.sources", content=b"", early=True)
    assert preflight.notes(stack, role(), {"db1": {"base": [*packages, source]}}, seen, {}) == []
