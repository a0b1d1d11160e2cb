"""The operator of the lab tests: types commands, and runs scripts on lab hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.installed import environment
from tests.lab import connections
from tests.lab.spent import SPENT

ROOT = Path(__file__).resolve().parent.parent.parent
# Commands that work on all hosts unless hosts are named.
SELECTING = ("plan", "deploy", "verify", "status", "drift")


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Operator:
    """An operator who types commands for one inventory, and runs scripts on lab hosts as root.

    `programs` is the folder of inv and fab, `lab` the lab's name if it differs from the stack's. If only some `hosts`
    were started, commands are limited to these.
    """

    inventory: Path
    stack: str
    project: Path
    lab: str = ""
    hosts: tuple[str, ...] = ()
    programs: Path = Path(sys.executable).parent

    def inv(self, *words: str, code: int | None = 0, timeout: float = 600) -> Done:
        """Run `inv WORDS --inventory=...`; fail the test if the exit code is not `code` (None: any)."""
        if self.hosts and words[0] in SELECTING and not any(word.startswith(("--host=", "--role=")) for word in words):
            words = (*words, f"--host={','.join(self.hosts)}")
        return self._type("inv", *words, code=code, timeout=timeout)

    def fab(self, *words: str, code: int | None = 0, timeout: float = 600) -> Done:
        """Run `fab failover WORDS --inventory=...` as `inv` does."""
        return self._type("fab", "failover", *words, code=code, timeout=timeout)

    def _type(self, program: str, *words: str, code: int | None, timeout: float) -> Done:
        # Words after -- belong to a command on a host.
        end = words.index("--") if "--" in words else len(words)
        line = [str(self.programs / program), *words[:end], f"--inventory={self.inventory}", *words[end:]]
        if words[0].startswith("lab.") or words[0] == "drill":
            connections.close(self.lab or self.stack)
        with SPENT.command(self.lab, f"{program} {' '.join(words)}"):
            ran = subprocess.run(
                line,
                cwd=self.project,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
                env=environment() if self.programs != Path(sys.executable).parent else None,
            )
        done = Done(ran.returncode, ran.stdout, ran.stderr)
        assert "Traceback" not in done.text, done.text
        if code is not None:
            typed = f"{program} {' '.join(words)}"
            assert done.code == code, f"{typed} ended with {done.code}, not {code}:\n{done.text[-6000:]}"
        return done

    def json(self, *words: str, code: int | None = 0, timeout: float = 600) -> Any:
        """Run an inv command with --json, and return its document."""
        return json.loads(self.inv(*words, "--json", code=code, timeout=timeout).out)

    def secret(self, name: str, value: str) -> None:
        """Set a secret, as from a pipe."""
        line = [str(self.programs / "inv"), "secrets.set", name, f"--inventory={self.inventory}"]
        subprocess.run(line, cwd=self.project, input=value, text=True, check=True, stdout=subprocess.DEVNULL)

    def on(self, host: str, script: str, check: bool = True, anew: bool = False) -> str:
        """Run a script as root on a lab host, and return its output; `anew` shows that the host admits a new login."""
        options = [] if anew else connections.shared(self.lab or self.stack, host)
        ssh = ["ssh", "-F", str(self.state / "lab/ssh_config"), *options, host, "sudo", "-n", "sh", "-s"]
        with SPENT.command(self.lab, f"{host}: {script.strip().partition(chr(10))[0]}"):
            ran = subprocess.run(ssh, input=script, capture_output=True, text=True, timeout=600, check=False)
        if check:
            assert ran.returncode == 0, f"{host}: {script}\nended with {ran.returncode}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    @property
    def state(self) -> Path:
        return self.inventory.parent / ".plainstack" / (self.lab or self.stack)

    def subjects(self, *words: str, code: int | None = 2) -> dict[str, list[str]]:
        """Return the subjects of the actions in `inv plan`, by host."""
        plan = self.json("plan", *words, code=code)
        return {host: [action["subject"] for action in actions] for host, actions in plan["changes"].items()}
