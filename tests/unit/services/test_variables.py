"""The environment and the processes of services: values arrive as they were written, references are resolved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plainstack.engine.resources import File, Unit
from plainstack.errors import InventoryError
from plainstack.inventory import references
from plainstack.inventory.stack import Stack
from plainstack.roles import app, worker
from plainstack.secrets.values import Secret, Vault
from plainstack.services import processes, variables
from tests import inventories

ROOT = Path(__file__).parents[3]
TEXT = """
stack: small
hosts:
  app1: {{address: 10.0.0.3, roles: [app]}}
  app2: {{address: 10.0.0.4, roles: [app]}}
  w1: {{address: 10.0.0.6, roles: [worker]}}
  db1: {{address: 10.0.0.5, roles: [db]}}
services:
  web: {service}
database: {{name: shop}}
"""
SHORT = "{source: apps/incidents, project: incidents_site"


def parse(service: str) -> Stack:
    return inventories.parse(TEXT.format(service=service), "hosts.yaml", ROOT)


def vault(**secrets: str) -> Vault:
    passwords = {"postgres/app": "p/w:&@", **{f"web/{name}": value for name, value in secrets.items()}}
    return Vault({name: Secret(name, value) for name, value in passwords.items()}, {}, "authority")


def problems(service: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        parse(service)
    return list(caught.value.problems)


@pytest.mark.programs
@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=30))
def test_a_shell_reads_every_value_as_it_was_written(values: list[str]) -> None:
    """systemd.exec(5) documents the same rules for double quotes; a lab test compares what a process gets."""
    text = "".join(f"V{number}={variables.quoted(value)}\n" for number, value in enumerate(values))
    script = f"set -a\n{text}exec env -0\n".encode()
    out = subprocess.run(["env", "-i", "sh", "-eu"], input=script, capture_output=True, check=True).stdout
    found = dict(line.split("=", 1) for line in out.decode().split("\0") if line)
    assert [found[f"V{number}"] for number in range(len(values))] == values


@given(st.lists(st.one_of(st.text(), st.sampled_from(["${a.b}", "$${", "$", "{", "}"]))))
def test_text_without_references_is_kept_and_each_reference_is_replaced_once(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        parts = references.parts(text)
    except ValueError:
        return
    again = "".join(part if isinstance(part, str) else f"${{{part.name}}}" for part in parts)
    assert again == text.replace("$${", "${")
    assert "".join(part for part in parts if isinstance(part, str)) == references.resolve(text, lambda _: "")


def test_an_unclosed_or_shell_like_reference_is_refused_with_the_correct_notation() -> None:
    for text in ("${HOME}", "${", "${a-b}", "x ${database.url"):
        (problem,) = problems(f"{SHORT}, env: {{A: '{text}'}}}}")
        assert "hosts.yaml:9: services.web.env.A:" in problem
        assert "write $${" in problem


def test_a_misspelled_reference_is_reported_with_the_intended_one() -> None:
    (problem,) = problems(f"{SHORT}, env: {{A: '${{databse.url}}'}}}}")
    assert "unknown reference ${databse.url}, did you mean 'database.url'?" in problem


def test_a_reference_needs_a_host_with_the_role_that_provides_it() -> None:
    text = TEXT.format(service=f"{SHORT}, env: {{A: '${{database.url}}'}}}}")
    without = text.replace("  db1: {address: 10.0.0.5, roles: [db]}\n", "").replace("database: {name: shop}\n", "")
    with pytest.raises(InventoryError) as caught:
        inventories.parse(without, "hosts.yaml", ROOT)
    assert "${database.url} comes from the role db, and no host has that role" in str(caught.value)


def test_a_secret_on_a_command_line_is_refused() -> None:
    service = f"{SHORT}, secrets: {{KEY: {{}}}}, processes: {{w: {{command: 'work ${{secret.KEY}}'}}}}}}"
    (problem,) = problems(service)
    assert "could be read by every account of the host" in problem


def test_only_the_service_can_read_a_secret_file_and_its_variable_holds_the_path() -> None:
    stack = parse(f"{SHORT}, secrets: {{KEY: {{file: true}}}}}}")
    found = inventories.wanted(app.ROLE, stack, "app1", vault(KEY="line\nline"))
    files = {item.path: item for item in found if isinstance(item, File)}
    key = files["/etc/plainstack/app/web/secrets/KEY"]
    assert (key.content, key.mode, key.group, key.secret) == (b"line\nline", 0o640, "app-web", True)
    assert b'KEY_FILE="/etc/plainstack/app/web/secrets/KEY"\n' in files["/etc/plainstack/app/web.env"].content
    (unit,) = [item for item in found if isinstance(item, Unit)]
    assert key.path in unit.restart_on


def test_values_accepted_during_a_rotation_are_in_the_fallback_variable() -> None:
    stack = parse(f"{SHORT}, secrets: {{KEY: {{generate: 50, fallbacks: OLD_KEYS}}}}}}")
    before = vault(KEY="new")
    during = Vault(before.passwords, {}, "", previous={"web/KEY": Secret("web/KEY", "old")})
    texts = [
        item.content
        for each in (before, during)
        for item in inventories.wanted(app.ROLE, stack, "app1", each)
        if isinstance(item, File) and item.path == "/etc/plainstack/app/web.env"
    ]
    assert b"OLD_KEYS" not in texts[0]
    assert b'OLD_KEYS="old"\n' in texts[1]


def test_each_host_runs_exactly_the_processes_placed_on_it() -> None:
    stack = parse(
        f"{SHORT}, processes: {{worker: {{command: 'celery -A x worker -n w${{number}}', count: 2, hosts: worker}}}}}}"
    )
    units = {
        host: [item.name for item in inventories.wanted(role, stack, host, vault()) if isinstance(item, Unit)]
        for role, host in ((app.ROLE, "app1"), (worker.ROLE, "w1"))
    }
    assert units == {
        "app1": ["plainstack-web.service"],
        "w1": ["plainstack-web-worker@1.service", "plainstack-web-worker@2.service"],
    }
    (file,) = [
        item
        for item in inventories.wanted(worker.ROLE, stack, "w1", vault())
        if isinstance(item, File) and item.path == "/etc/systemd/system/plainstack-web-worker@.service"
    ]
    assert b"\nExecStart=celery -A x worker -n w%i\n" in file.content
    assert [one.name for one in processes.served(stack)] == ["web"]


def test_a_host_with_both_roles_runs_every_process_once() -> None:
    text = TEXT.format(
        service=f"{SHORT}, processes: {{worker: {{command: work, hosts: worker}}}}}}",
    ).replace("roles: [worker]", "roles: [app, worker]")
    stack = inventories.parse(text, "hosts.yaml", ROOT)
    names = {
        role.name: [item.name for item in inventories.wanted(role, stack, "w1", vault()) if isinstance(item, Unit)]
        for role in (app.ROLE, worker.ROLE)
    }
    assert names == {"app": ["plainstack-web.service", "plainstack-web-worker.service"], "worker": []}


def test_the_command_of_a_secret_may_use_pipes_and_shell_variables() -> None:
    stack = parse(f"{SHORT}, secrets: {{KEY: {{command: 'pass show ${{STORE}}/key | head -n 1'}}}}}}")
    assert stack.services["web"].secrets["KEY"].command == "pass show ${STORE}/key | head -n 1"


def test_a_percent_sign_in_a_command_is_not_a_systemd_specifier() -> None:
    stack = parse(f"{SHORT}, processes: {{w: {{command: 'date +%s'}}}}}}")
    (file,) = [
        item
        for item in inventories.wanted(app.ROLE, stack, "app1", vault())
        if isinstance(item, File) and item.path == "/etc/systemd/system/plainstack-web-w.service"
    ]
    assert b"\nExecStart=date +%%s\n" in file.content


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        (f"{SHORT}, prot: 1}}", "services.web.prot: unknown key, did you mean 'port'?"),
        ("{kind: pyton, source: apps/incidents}", "services.web.kind: unknown kind 'pyton', did you mean 'python'?"),
        ("{kind: binary, source: apps/incidents}", "services.web.processes: is missing"),
        (f"{SHORT}, hosts: wrker}}", "'wrker' is no role that runs services, did you mean 'worker'?"),
        (f"{SHORT}, hosts: [app3]}}", "services.web.hosts: unknown host 'app3', did you mean 'app2'?"),
        (f"{SHORT}, hosts: [db1]}}", "services.web.hosts: db1 has neither of the roles app and worker"),
        (f"{SHORT}, env: {{B: true}}}}", "services.web.env.B: must be text or a whole number"),
        (
            f"{SHORT}, env: {{B: 1.10}}}}",
            "whole number (given: 1.10, which YAML reads as the number 1.1; in quotes it is text)",
        ),
        (
            "{kind: python, source: s, python: 3.10, processes: {w: {command: x}}}",
            "(given: 3.10, which YAML reads as the number 3.1; in quotes it is text)",
        ),
        (f"{SHORT}, env: {{RELEASE: x}}}}", "RELEASE is set by Plainstack or systemd"),
        (f"{SHORT}, env: {{A: x}}, secrets: {{A: {{}}}}}}", "services.web.secrets.A: services.web.env sets A, too"),
        (f"{SHORT}, processes: {{w: {{command: a | b}}}}}}", "systemd runs it without a shell"),
        (f"{SHORT}, processes: {{w: {{command: a, port: 8000}}}}}}", "services.web.processes.w.port: 8000 is taken by"),
        (f"{SHORT}, processes: {{w: {{command: a, port: 5432}}}}}}", "5432 is the port of PostgreSQL"),
        (f"{SHORT}, processes: {{w: {{command: a, health: /x}}}}}}", "needs services.web.processes.w.port"),
        (f"{SHORT}, processes: {{w: {{command: a, port: 81, count: 2}}}}}}", "2 processes cannot share a port"),
        (
            f"{SHORT}, processes: {{w: {{command: a, one: true, count: 2}}}}}}",
            "contradicts services.web.processes.w.one",
        ),
        (
            f"{SHORT}, processes: {{w: {{command: a, one: true, port: 81}}}}}}",
            "a process with `one: true` cannot have port",
        ),
        (
            f'{SHORT}, processes: {{w: {{command: a, one: true, restart: "no"}}}}}}',
            "must be always, because of `one: true`",
        ),
        (
            "{kind: binary, source: Makefile, processes: {web: {command: a, port: 8000}}}",
            "services.web.processes.web.health: is missing; the balancers use a host only while",
        ),
        (f"{SHORT}, writable: [../x]}}", "a path inside the source without '..'"),
    ],
)
def test_an_impossible_service_is_refused_with_its_place_and_the_reason(service: str, sentence: str) -> None:
    (problem,) = problems(service)
    assert problem.startswith("hosts.yaml:9: services.web")
    assert sentence in problem


def test_a_process_that_runs_once_needs_a_database_for_its_lease() -> None:
    text = TEXT.format(service=f"{SHORT}, processes: {{beat: {{command: x, one: true}}}}}}")
    second = text.replace("services:", "  db2: {address: 10.0.0.7, roles: [db]}\nservices:")
    for wrong, reported in (
        (text.replace(", roles: [db]", ""), "needs a host with the role db"),
        (second.replace("{name: shop}", "{name: shop, synchronous: false}"), "needs database.synchronous: true"),
    ):
        with pytest.raises(InventoryError) as caught:
            inventories.parse(wrong, "hosts.yaml", ROOT)
        assert f"services.web.processes.beat.one: {reported}" in str(caught.value)
    assert inventories.parse(second, "hosts.yaml", ROOT)


def test_a_process_that_runs_once_has_a_supervisor_that_can_log_in_to_the_database() -> None:
    stack = parse(f"{SHORT}, processes: {{beat: {{command: celery beat, one: true, stop_timeout: 20}}}}}}")
    files = {item.path: item for item in inventories.wanted(app.ROLE, stack, "app1", vault()) if isinstance(item, File)}
    login = files["/etc/plainstack/app/web.lease.env"]
    assert b'PGPASSWORD="p/w:&@"\n' in login.content
    assert (login.mode, login.group, login.secret) == (0o640, "app-web", True)
    unit = files["/etc/systemd/system/plainstack-web-beat.service"].content.decode().splitlines()
    assert (
        "ExecStart=/usr/bin/python3 -I /usr/local/lib/plainstack/one --lease web-beat --stop-signal TERM"
        " --stop-timeout 20 -- celery beat"
    ) in unit
    assert {"Type=notify", "Delegate=yes", "TimeoutStopSec=35"} <= set(unit)


def test_two_services_cannot_have_units_with_the_same_name() -> None:
    text = TEXT.format(
        service=f"{SHORT}, processes: {{b: {{command: x}}}}}}\n  web-b: {SHORT}, port: 8001, path: /b/}}"
    )
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", ROOT)
    assert "its unit, plainstack-web-b, is already that of services.web.processes.b" in str(caught.value)
