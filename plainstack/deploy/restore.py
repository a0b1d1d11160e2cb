"""Run a restore over SSH: observe the hosts, and run the steps that postgresql/restore/ decides on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plainstack.deploy import lock
from plainstack.deploy.phased_run import PhasedRun
from plainstack.deploy.step_runner import Event
from plainstack.engine.network import Network
from plainstack.postgresql.backup import catalogue, folder_listing, folders
from plainstack.postgresql.restore import decisions, facts, steps, undo
from plainstack.postgresql.restore.acts import AnyStep, Plan
from plainstack.postgresql.restore.situation import Request, Situation
from plainstack.postgresql.step_frame import Origin


class Restoration(PhasedRun[AnyStep, Situation]):
    """Observes the hosts of a restore, and acts on them; use it in a `with` statement."""

    def __init__(self, network: Network, command: str, report: Callable[[Event], None]) -> None:
        super().__init__(network, command, report)
        self._questions = facts.questions(network.stack)
        self._releases: list[lock.Release] = []

    def __exit__(self, *_: object) -> None:
        self.unlock()
        super().__exit__()

    @property
    def away(self) -> Mapping[str, str]:
        """The hosts that did not answer, with the reason."""
        return self._runner.away

    def observe(self) -> Situation:
        """Return the situation, from the answers of all hosts, including those that did not answer before."""
        self._lookout.observe()
        return self._look()

    def catalogue(self) -> catalogue.Catalogue:
        """Return the backups and WAL that the backup host has. Raises HostFailed."""
        (name,) = self._questions.backup
        return catalogue.parse(self._runner.read(name, catalogue.script(self.stack), 120))

    def snapshots(self) -> folder_listing.Files:
        """Return the snapshots of services' folders that the backup host has. Raises HostFailed."""
        (name,) = self._questions.backup
        return folder_listing.parse(self._runner.read(name, folders.list_script(self.stack), 120))

    def lock(self) -> None:
        """Lock all hosts of the restore that answered. Raises Refused."""
        asked = self._questions
        names = {*asked.databases, *asked.backup, *asked.processes, *asked.doors, *self._lookout.clients}
        self._releases = self._runner.lock(names)

    def unlock(self) -> None:
        """Release the locks."""
        for release in self._releases:
            release()
        self._releases = []

    def restore(self, wanted: Request) -> Situation:
        """Bring the database back, up to the checks before the site opens; raises Refused or HostFailed."""
        return self._run(lambda now: decisions.restore(now, wanted))

    def undo(self) -> Situation:
        """Put the data from before the last restore back, up to the checks before the site opens."""
        return self._run(undo.undo)

    def reopen(self) -> Situation:
        """Open the site after a restore or its undoing, and record the end."""
        return self._run(decisions.reopen)

    def discard(self) -> Situation:
        """Delete the data that restores have put aside."""
        return self._run(decisions.discard)

    def _run(self, decide: Callable[[Situation], Plan]) -> Situation:
        now = self._look()
        return self._follow(decide(now), now)

    def _look(self) -> Situation:
        asked = self._questions
        topology = self._lookout.look()
        # Each host is asked once, even if it plays several parts.
        scripts: dict[str, str] = {}
        for part in _parts(asked):
            for name, script in part.items():
                scripts[name] = scripts.get(name, "") + script
        said = self._runner.ask(scripts)
        return facts.situation(topology, *({name: said[name] for name in part} for part in _parts(asked)))

    def _script(self, step: AnyStep, origin: Origin) -> tuple[str, float]:
        return steps.script(self.stack, step, origin), steps.seconds(step)


def _parts(asked: facts.Questions) -> tuple[Mapping[str, str], ...]:
    return (asked.databases, asked.backup, asked.processes, asked.doors)
