"""Other ways to log in: through a jump host, with noisy startup files, and with a sudo that asks for a password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import PACKAGES, lab
from tests.lab.operator import Operator
from tests.waiting import PATIENCE

INVENTORY = """
stack: waysin
ssh: {user: ops, gateway: lab}
hosts:
  inner: {address: 192.168.62.11, roles: []}
  jump: {address: 192.168.62.12, roles: []}
"""


@pytest.fixture(scope="module")
def two(project: Path) -> Iterator[Operator]:
    """Deploy two hosts without roles."""
    with lab("ways-in", INVENTORY, project, packages=PACKAGES) as operator:
        operator.inv("lab.up", timeout=900)
        operator.inv("deploy", timeout=1200)
        yield operator


def test_hosts_behind_a_jump_host_are_reachable(two: Operator) -> None:
    """Commands run inside the lab's namespace, as on a machine that reaches only the jump host."""
    key = f", key: {two.state}/lab/id_ed25519"
    text = two.inventory.read_text(encoding="utf-8")
    two.inventory.write_text(text.replace("gateway: lab", f"gateway: ops@192.168.62.12{key}"), encoding="utf-8")

    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        inv = str(Path(sys.executable).with_name("inv"))
        line = ["nsenter", f"--net=/run/netns/plainstack-{two.lab}", inv, *words, f"--inventory={two.inventory}"]
        return subprocess.run(line, cwd=two.project, capture_output=True, text=True, timeout=600, check=False)

    try:
        refused = inside("plan")
        assert refused.returncode == 1
        assert "gateway ops@192.168.62.12: the host key is not pinned. Run inv trust" in refused.stderr
        trusted = inside("trust", "--yes")
        assert trusted.returncode == 0, trusted.stderr
        assert "ops@192.168.62.12 (192.168.62.12): new key ssh-ed25519 SHA256:" in trusted.stdout
        plan = inside("plan", "--json")
        assert plan.returncode == 0, plan.stdout + plan.stderr
    finally:
        two.inventory.write_text(text, encoding="utf-8")


def test_startup_files_that_print_and_a_short_path_do_not_disturb_commands(two: Operator) -> None:
    noise = "echo NOISE; for n in 1 2 3 4 5; do echo $n; done; echo NOISE >&2; PATH=/usr/bin:/bin"
    on_inner(two, f"cp .bashrc .bashrc.kept; echo '{noise}' | cat - .bashrc.kept >.bashrc")
    try:
        two.inv("deploy")
        two.inv("verify")
    finally:
        on_inner(two, "mv .bashrc.kept .bashrc")


def on_inner(two: Operator, script: str) -> None:
    """Run a script on the host inner as the user ops, without sudo."""
    subprocess.run(
        ["ssh", "-F", str(two.state / "lab/ssh_config"), "-l", "ops", "inner", script], check=True, timeout=PATIENCE
    )


def test_a_sudo_that_asks_for_a_password_is_reported(two: Operator) -> None:
    on_inner(two, "sudo -n sh -c 'for f in /etc/sudoers.d/*; do sed -i s/NOPASSWD:// $f; done'")
    done = two.inv("plan", code=1)
    assert "inner: probe: sudo refused:" in done.err
    assert "Let ops use sudo without a password (NOPASSWD)" in done.err
