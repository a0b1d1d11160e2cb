"""Apply one transaction to one host, and confirm it over a new connection if it could lock the operator out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from threading import Event

from plainstack.dataclass import dataclass
from plainstack.deploy.schedule import PACKAGES
from plainstack.engine import probe
from plainstack.engine.observed import Observed
from plainstack.engine.paths import GUARD_UNIT, STATE
from plainstack.engine.plan.actions import HostPlan, PackageTransaction, Transaction
from plainstack.engine.transaction import script
from plainstack.engine.transaction.bundle import Members
from plainstack.engine.transaction.result import AFTERWARDS, Answer
from plainstack.engine.transaction.script import Script
from plainstack.errors import HostFailed
from plainstack.ssh.connections import Sessions

# Seconds to allow for work that the host does not limit: the transfer, apt on a slow mirror, a rollback. A dead
# connection is noticed much sooner.
UNLIMITED = 3600


@dataclass(frozen=True)
class Applier:
    """Sends transactions to hosts.

    `on_step` is called with the host, the stage and the step when a step begins; `on_progress` likewise, with a line
    that the step has printed; `on_note` with any other message from a host. `afterwards` describes the state of a host
    after a failed transaction, by the word that it prints for it.
    `warnings` collects what the operator must not miss.
    """

    sessions: Sessions
    on_step: Callable[[str, str, str], None]
    on_note: Callable[[str], None]
    on_progress: Callable[[str, str, str], None]
    afterwards: Mapping[str, str] = field(default_factory=lambda: AFTERWARDS)
    warnings: list[str] = field(default_factory=list)

    def apply(self, host: str, stage: str, work: Script, limit: int) -> Observed | None:
        """Run a script on a host; return what the probe at its end observed, or None if the script has no probe.

        Raises HostFailed if the script fails or takes longer than `limit` seconds.
        """
        session = self.sessions.to(host)
        answer = Answer()

        def on_line(line: str) -> None:
            step = answer.read(line)
            if step is not None:
                self.on_step(host, stage, step)
            while answer.progress:
                self.on_progress(host, stage, answer.progress.pop(0))
            while answer.notes:
                self.on_note(f"{host}: {answer.notes.pop(0)}")

        output = session.run(
            work.command,
            stdin=work.stream,
            hold_stdin=True,
            on_line=on_line,
            timeout=limit,
            step=stage,
        )
        self.warnings.extend(f"{host}: {warning}" for warning in answer.warnings)
        if answer.failed:
            reason = f"failed; {self.afterwards[answer.outcome]}"
            raise HostFailed(host, f"{stage}: {answer.failed}", reason, answer.tail, answer.code)
        if not answer.done:
            where = answer.step or "receive the files"
            raise HostFailed(host, f"{stage}: {where}", "failed", output.err.splitlines()[-5:], output.code)
        if answer.unconfirmed:
            self._confirm(host, stage, answer.unconfirmed)
        return probe.parse("\n".join(answer.probe)) if answer.probe else None

    def _confirm(self, host: str, stage: str, run_id: str) -> None:
        """Confirm the change over a new connection. An open one proves nothing: firewalls let it through anyway."""
        self.on_step(host, stage, "confirm over a new connection")
        run = f"{STATE}/runs/{run_id}"
        confirm = f"sh -c '[ -d {run} ] || exit 1; RUN={run}; . {run}/library.sh; confirm'"
        try:
            session = self.sessions.fresh(host)
            try:
                output = session.run(confirm, timeout=15, step="confirm")
            finally:
                session.close()
        except HostFailed as error:
            self._undo_now(host, run_id)
            raise HostFailed(
                host,
                f"{stage}: confirm over a new connection",
                "this change would have locked you out, so the host has undone it",
                [error.reason],
            ) from None
        if output.code != 0:
            raise HostFailed(
                host,
                f"{stage}: confirm",
                "the confirmation arrived too late, so the host has undone the change",
                [output.err.strip()],
            )

    def _undo_now(self, host: str, run_id: str) -> None:
        """Start the undo over the open connection. If that fails, the guard's timer on the host starts it later."""
        unit = f"{GUARD_UNIT}-{run_id}"
        try:
            self.sessions.to(host).run(f"systemctl start {unit}.service", timeout=30, step="undo")
        except HostFailed:
            self.sessions.forget(host)
            return
        # sshd may refuse connections for a moment while it reloads its old configuration.
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            with contextlib.suppress(HostFailed):
                self.sessions.fresh(host).close()
                return
            Event().wait(0.1)


def build(
    plan: HostPlan,
    stage: str,
    run_id: str,
    audit: Mapping[str, object],
    payloads: Mapping[str, Members],
    probe_text: str,
    planned_at: str,
) -> Script:
    """Return the script of one stage of a host's plan; the script of the last stage ends with `probe_text`.

    `planned_at` is the host's generation when it was probed, or after the previous stage of this run.
    """
    work = work_of(plan, stage)
    last = (plan.transactions[-1].stage if plan.transactions else PACKAGES) == stage
    final = probe_text if last else ""
    if isinstance(work, PackageTransaction):
        details = {**audit, "role": stage, "actions": [f"install {name}" for name in work.install]}
        return script.packages(work, run_id, details, final, planned_at=planned_at)
    details = {**audit, "role": stage, "actions": [action.subject() for action in work.visible]}
    return script.transaction(work, run_id, details, payloads, final, planned_at=planned_at)


def work_of(plan: HostPlan, stage: str) -> Transaction | PackageTransaction:
    """Return the transaction of one stage of a plan."""
    if stage == PACKAGES:
        assert plan.packages
        return plan.packages
    return next(transaction for transaction in plan.transactions if transaction.stage == stage)


def longest(work: Transaction | PackageTransaction) -> int:
    """Return the time limit of a stage in seconds; the host's own limits are shorter, so that its result arrives."""
    if isinstance(work, PackageTransaction):
        return UNLIMITED
    return UNLIMITED + sum(action.patience for action in work.actions)
