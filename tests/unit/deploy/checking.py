"""Helpers that run checks without hosts: a function answers each command."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from plainstack import shipped
from plainstack.deploy import verify
from plainstack.deploy.check_result import CheckResult
from plainstack.deploy.verify import Verifier
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.ssh.session import Output

# A module with a check that takes facts.
ASKING = """
ROLE = "base"

def facts(stack, here):
    return {"lines": "echo 1; echo 2", "exits": f"echo {here.name}; exit 3", "reads": "cat; echo read"}

def test_one(facts):
    assert facts == {"lines": "1\\n2", "exits": "db1", "reads": "read"}, str(facts)

def test_another(facts):
    assert facts["exits"] == "db1", facts["exits"]
"""


Answer = Callable[[str, str], str | Output]


class Sessions:
    """Stand-ins for connections: a function takes the host and the command and returns what it prints."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def to(self, name: str) -> Any:
        answer = self._answer

        class Session:
            def script(self, text: str, **_: object) -> Output:
                given = answer(name, text)
                return given if isinstance(given, Output) else Output(0, given, "")

        return Session()


def checked(stack: Stack, vault: Vault, answer: Answer, hosts: list[str]) -> list[CheckResult]:
    sessions: Any = Sessions(answer)
    # With this folder, the stack adds no checks of its own to the shipped ones.
    stack = stack.model_copy(update={"folder": shipped.ROOT})
    verifier = Verifier(stack, vault, sessions, registry(), (), hosts)
    verify.run(verifier)
    return verifier.results


def asking_here(_name: str, text: str) -> str:
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout
