"""A balancer goes down only if another one answers requests and can take over the virtual address."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine.sayings import NO_OTHER
from plainstack.roles.balancer import ROLE
from tests import inventories

TEXT = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, public: 10.1.0.1, roles: [balancer]}
  lb2: {address: 10.0.0.2, public: 10.1.0.2, roles: [balancer]}
  lb3: {address: 10.0.0.3, public: 10.1.0.3, roles: [balancer]}
  app1: {address: 10.0.0.4, roles: [app]}
services: {web: {kind: static, source: .}}
"""
ADDRESS = "balancer: {virtual_address: 10.1.0.9}\n"


def scripts(text: str, units: tuple[str, ...] = ("nginx.service",), absent: tuple[str, ...] = ()) -> Mapping[str, str]:
    stack = inventories.parse(text, "test.yaml", Path())
    assert ROLE.spare
    return ROLE.spare.asks(stack, stack.hosts["lb1"], units, absent)


def test_the_other_balancers_that_can_be_reached_are_asked() -> None:
    assert list(scripts(TEXT)) == ["lb2", "lb3"]
    assert list(scripts(TEXT, ("keepalived.service",), ("lb2",))) == ["lb3"]


def test_nobody_is_asked_about_units_that_answer_no_requests() -> None:
    assert scripts(TEXT, ("prometheus-nginx-exporter.service",)) == {}


@pytest.mark.programs
@pytest.mark.parametrize(
    ("text", "keepalived", "answers", "said"),
    [
        (ADDRESS, "loaded active", True, ""),
        (ADDRESS, "loaded failed", True, "keepalived does not run"),
        (ADDRESS, "loaded active", False, "its web server does not answer"),
        (ADDRESS, "not-found inactive", False, ""),
        ("", "not-found inactive", True, ""),
        ("", "not-found inactive", False, "its web server does not answer"),
    ],
)
def test_a_balancer_says_why_it_cannot_take_over(
    tmp_path: Path, text: str, keepalived: str, answers: bool, said: str
) -> None:
    load, active = keepalived.split()
    for name, body in {
        "curl": "true" if answers else "false",
        "systemctl": f'if [ "$1" = show ]; then echo {load}; else [ {active} = active ]; fi',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    ran = subprocess.run(
        ["sh", "-c", scripts(TEXT + text)["lb2"]],
        env={"PATH": f"{tmp_path}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (NO_OTHER if said else 0, said), ran.stderr
