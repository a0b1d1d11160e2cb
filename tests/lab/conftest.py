"""One lab for all tests of a run: the default inventory on networks of its own, so that a demo may run beside.

PLAINSTACK_TEST_LAB=NAME names the lab, so that two runs may go on beside each other.
PLAINSTACK_KEEP_LAB=1 leaves it up for a look, and the next run starts from it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
KEEP = bool(os.environ.get("PLAINSTACK_KEEP_LAB"))
LAB = os.environ.get("PLAINSTACK_TEST_LAB", "testlab")
# Every lab has a network namespace of its own, so all of them may use the same addresses.
NETWORKS = ("192.168.59", "192.168.60")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Operator:
    """A person at the keyboard: types inv commands for one inventory, and looks at lab hosts as their root."""

    inventory: Path
    stack: str
    project: Path

    def inv(self, *words: str, code: int | None = 0, timeout: float = 600) -> Done:
        """Type `inv WORDS --inventory=...`; fails the test when it does not end with `code` (None: any)."""
        return self._type("inv", *words, code=code, timeout=timeout)

    def fab(self, *words: str, code: int | None = 0, timeout: float = 600) -> Done:
        """Type `fab failover WORDS --inventory=...`; as `inv` does."""
        return self._type("fab", "failover", *words, code=code, timeout=timeout)

    def _type(self, program: str, *words: str, code: int | None, timeout: float) -> Done:
        line = [str(Path(sys.executable).with_name(program)), *words, f"--inventory={self.inventory}"]
        ran = subprocess.run(
            line,
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        done = Done(ran.returncode, ran.stdout, ran.stderr)
        assert "Traceback" not in done.text, done.text
        if code is not None:
            typed = f"{program} {' '.join(words)}"
            assert done.code == code, f"{typed} ended with {done.code}, not {code}:\n{done.text[-6000:]}"
        return done

    def json(self, *words: str, code: int | None = 0) -> Any:
        """The JSON document of a command."""
        return json.loads(self.inv(*words, "--json", code=code).out)

    def on(self, host: str, script: str, check: bool = True) -> str:
        """What a script prints on a lab host."""
        ssh = ["ssh", "-F", str(self.state / "lab/ssh_config"), host, "sudo", "-n", "sh", "-s"]
        ran = subprocess.run(ssh, input=script, capture_output=True, text=True, timeout=120, check=False)
        if check:
            assert ran.returncode == 0, f"{host}: {script}\nended with {ran.returncode}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    @property
    def state(self) -> Path:
        return self.inventory.parent / ".plainstack" / self.stack

    def subjects(self, *words: str, code: int | None = 2) -> dict[str, list[str]]:
        """What `inv plan` would do, by host."""
        plan = self.json("plan", *words, code=code)
        return {host: [action["subject"] for action in actions] for host, actions in plan["changes"].items()}


def write_inventory(folder: Path, stack: str, private: str, public: str) -> Path:
    """The default inventory with another name, other networks, and a user with sudo: the harder way to do everything.

    Root logs in at the three databases, and in a demo.
    """
    text = (ROOT / "hosts.yaml").read_text(encoding="utf-8")
    text = text.replace("stack: shop", f"stack: {stack}", 1)
    text = text.replace("user: root", "user: ops", 1)
    text = text.replace("192.168.57.", f"{private}.").replace("192.168.3.", f"{public}.")
    text = text.replace("apps/incidents", str(ROOT / "apps/incidents"))
    path = folder / "hosts.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that tests may change: a broken template, a package that does not exist."""
    copy = tmp_path_factory.mktemp("project") / "plainstack"
    left_out = (".git", ".venv", ".plainstack", ".*_cache", ".hypothesis", "__pycache__", "reports", "tests")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    return copy


@pytest.fixture(scope="session")
def bare(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Eight bare hosts, and a visitor."""
    assert os.geteuid() == 0, "the lab tests need root: run them with sudo"
    folder = Path(f"/var/tmp/plainstack-{LAB}") if KEEP else tmp_path_factory.mktemp("stack")
    folder.mkdir(exist_ok=True)
    operator = Operator(write_inventory(folder, LAB, *NETWORKS), LAB, project)
    if not KEEP:
        operator.inv("lab.down")
    operator.inv("lab.up", timeout=900)
    yield operator
    if not KEEP:
        operator.inv("lab.down")


@pytest.fixture(scope="session")
def deployed(bare: Operator) -> Operator:
    """The same hosts with the stack on them; the first deploy's output is printed when it fails."""
    bare.inv("deploy", timeout=1200)
    return bare


@pytest.fixture
def whole(deployed: Operator) -> Iterator[Operator]:
    """A deployed stack that the test may break: it is deployed again afterwards, which fails if anything is left."""
    yield deployed
    deployed.inv("deploy")
