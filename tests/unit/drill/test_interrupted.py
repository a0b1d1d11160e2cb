"""Ctrl-C during a drill: the stack is repaired first, the verdict says so, and no further drill begins."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from plainstack.cli import drill_commands
from plainstack.drill.recovery import unbroken

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ctrl_c_waits_for_the_recovery_and_the_second_one_ends_it(number: signal.Signals) -> None:
    notes: list[str] = []
    steps: list[str] = []

    def recover() -> None:
        with unbroken(notes.append) as kept:
            os.kill(os.getpid(), number)
            steps.append(f"after {kept}")
            os.kill(os.getpid(), number)
            steps.append("after both")

    with pytest.raises(KeyboardInterrupt):
        recover()
    assert steps == [f"after {[int(number)]}"]
    assert notes == ["the stack is being repaired; another Ctrl-C leaves it as it is now"]


@pytest.mark.parametrize(("interrupted", "drills"), [(False, 3), (True, 1)])
def test_no_drill_starts_after_an_interrupted_one(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool, drills: int
) -> None:
    begun: list[str] = []

    def begin(_stack: Any, fault: Any, *_: Any) -> dict[str, Any]:
        begun.append(fault.target)
        return {"passed": False, "interrupted": interrupted}

    monkeypatch.setattr(drill_commands, "_one", begin)
    with pytest.raises(Exit) as ended:
        drill_commands.run("drill", str(ROOT / "hosts.yaml"), json=False, target="all")
    assert ended.value.code == 1
    assert begun == ["db", "app", "balancer"][:drills]
