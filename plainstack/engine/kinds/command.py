"""Imperative steps with a guard, and validations of what is about to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import Kind, Resource, Situation, done_elsewhere, no_guards
from plainstack.engine.transaction.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Local files that travel with a command if, and only if, it runs: `files` as (name, local path).

    When `requirements` names one of the files, a locked requirements file, its wheels are fetched on the operator's
    machine and travel as wheels/*.whl. The command finds everything under $PAYLOAD. Modes do not travel: `executables`
    are the paths below source/ that the command makes executable.

    Between plan and command somebody may save a file: with a `digest` only what was hashed for the
    plan travels. `stays` names what of the same folder does not travel, for people to read.
    """

    files: tuple[tuple[str, str], ...] = ()
    executables: tuple[str, ...] = ()
    requirements: str = ""
    digest: str = ""
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Resource):
    """An imperative step: `run` is done by sh when `unless` (evaluated by the probe, and again then) does not exit 0.

    `unless` must exit 0 after `run` succeeded. Both may be multi-line scripts, run with `set -eu`; neither may hold a
    secret: what is secret is read from a managed file on the host. `undo` is run when the transaction is rolled back.
    `why` is the sentence that plan and progress show; by `id`, where it has one, its role knows it in a plan.

    A command that is `ahead` runs on all hosts of its role before the role changes anything else on any of them, in a
    transaction of its own with the accounts, directories and files (`ahead`) that it needs. It must leave what is
    running alone.
    """

    name: str
    why: str
    run: str
    unless: str
    undo: str = ""
    payload: Payload | None = None
    timeout: int = 120
    ahead: bool = False
    id: str = ""

    @property
    def key(self) -> str:
        return f"command {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(Resource):
    """A command run before anything changes, in a mount namespace where /etc already holds the wave's new files.

    It runs only when one of `reads` (path prefixes) changes; a non-zero exit stops the wave with nothing touched.
    """

    name: str
    run: str
    reads: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"validation {self.name}"


@dataclass(frozen=True, slots=True)
class Run(Action):
    """Run a command whose guard was not satisfied.

    With `recheck` the guard was satisfied at the probe, and something before the command may have changed that: the
    host asks again and in most cases does nothing, so a plan does not list it.
    """

    command: Command
    cause: Cause = "new"
    detail: str = ""
    recheck: bool = False

    counted: ClassVar[str] = "command"

    def subject(self) -> str:
        if self.recheck:
            return f"check {self.command.name} again"
        return f"run {self.command.name}: {self.command.why}"

    @property
    def hidden(self) -> bool:
        return self.recheck

    @property
    def ahead(self) -> bool:
        return self.command.ahead

    @property
    def patience(self) -> int:
        return self.command.timeout

    def steps(self, number: str, bundle: Bundle) -> None:
        command = self.command
        bundle.file(f"command.{number}.run", command.run + "\n")
        bundle.file(f"command.{number}.unless", command.unless + "\n")
        if command.undo:
            bundle.file(f"command.{number}.undo", command.undo + "\n")
        for member, content in bundle.payloads.get(command.name, ()):
            bundle.file(f"payload.{number}/{member}", content)
        bundle.step(self.subject(), "run_command", number, str(command.timeout))


def _guards(item: Command) -> Mapping[str, str]:
    return {item.name: item.unless}


def _compare(item: Command, situation: Situation) -> Iterator[Run]:
    if not situation.observed.guards.get(item.name, False):
        yield Run(item)
    elif situation.begun and item.payload is None:
        # Judged before this plan's own changes: a guard such as "at most five releases" may not hold after them.
        yield Run(item, recheck=True)


COMMAND = Kind[Command](
    name="command",
    resource=Command,
    folder=None,
    looks=(),
    guards=_guards,
    rank=Rank.AS_NAMED,
    compare=_compare,
    remembered=None,
    functions="command",
)
VALIDATION = Kind[Validation](
    name="validation",
    resource=Validation,
    folder=None,
    looks=(),
    guards=no_guards,
    rank=Rank.AS_NAMED,
    compare=done_elsewhere,
    remembered=None,
    functions="",
)
