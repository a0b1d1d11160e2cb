"""Run checks on hosts and show each result, for `inv verify` and after a restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plainstack.cli.console import Console

if TYPE_CHECKING:
    from plainstack.deploy.check_result import CheckResult
    from plainstack.deploy.observe import Observer
    from plainstack.inventory.stack import Stack


def run_checks(
    console: Console, observer: Observer, roles: Sequence[str], hosts: Sequence[str], *, serial: bool = False
) -> tuple[Stack, list[CheckResult]]:
    """Run the checks of these roles (none means all) on these hosts; show each result as it arrives.

    Return the stack with the stops and rollbacks that its hosts record, and the results.
    """
    from plainstack.deploy.verify import Verifier, run
    from plainstack.engine.observed import Observed
    from plainstack.services import holds

    def show(result: CheckResult) -> None:
        mark, style = ("ok  ", "green") if result.passed else ("FAIL", "bold red")
        console.line(f"{mark} {result.host:<8} {result.role}: {result.promise} ({result.seconds:.1f} s)", style)
        if not result.passed:
            for line in result.why.splitlines()[:12]:
                console.line(f"       {line}")

    answers = observer.ask(holds.questions(observer.stack))
    held = holds.read(observer.stack, {name: Observed(facts=facts) for name, facts in answers.items() if facts})
    verifier = Verifier(held, observer.secrets.vault, observer.sessions, observer.roles, roles, hosts, show, serial)
    run(verifier)
    return held, verifier.results
