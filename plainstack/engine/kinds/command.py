"""Commands, which run when their guard fails, and validations, which check pending changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import Kind, Resource, Situation, done_elsewhere, no_guards
from plainstack.engine.transaction.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that another host of the stack creates just before a command runs, for example from a release built there.

    `script` prints it in base64; it runs on one of `hosts` after another until it exits 0. `what` describes the file in
    messages.
    """

    name: str
    what: str
    hosts: tuple[str, ...]
    script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Local files that are copied to the host if, and only if, a command runs: `files` as (name, local path).

    If `requirements` names one of the files, a locked requirements file, its wheels for the Python version `python` are
    downloaded on the operator's machine and copied as wheels/*.whl. The command finds everything under $PAYLOAD. File
    modes are not copied: `executables` lists the paths below source/ that the command makes executable. With an
    `interpreter`, the version of a Python, an archive with its standalone build is copied as python.tar.gz.

    A file may change between the plan and the command: with a `digest`, only the content hashed for the plan is
    copied. `stays` lists, for display, the files and folders of the same directory that are not copied. `fetched` is
    a file that comes from another host.
    """

    files: tuple[tuple[str, str], ...] = ()
    executables: tuple[str, ...] = ()
    requirements: str = ""
    python: str = ""
    interpreter: str = ""
    digest: str = ""
    stays: tuple[str, ...] = ()
    fetched: Fetched | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Resource):
    """A shell script, `run`, that sh executes unless the guard `unless` exits 0.

    The probe evaluates `unless`, and the host evaluates it again just before `run`. It must exit 0 once `run` has
    succeeded. Both may be multi-line scripts and run with `set -eu`. Neither may contain a secret; they can read
    secrets from managed files on the host. `undo` runs when the transaction is rolled back. `why` is the sentence that
    plans and progress output show. `run` can append warnings for the operator to the file $WARNINGS; the lines that
    continue one are indented by four spaces; the file $SAID has its output so far. With `follow`, the last line of the
    output is shown while it runs. `id`, if set, lets the role find the command in a plan.

    A command with `ahead` runs on all hosts of its role before the role changes anything else on any of them. It runs
    in a separate transaction, together with the accounts, directories and `ahead` files that it needs. It must not
    affect running services.
    """

    name: str
    why: str
    run: str
    unless: str
    undo: str = ""
    payload: Payload | None = None
    timeout: int = 120
    ahead: bool = False
    follow: bool = False
    id: str = ""

    @property
    def key(self) -> str:
        return f"command {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(Resource):
    """A command that runs before its transaction changes anything, in a mount namespace where /etc has the new files.

    It runs only if a path that starts with one of `reads` changes. If it exits non-zero, the transaction fails with
    nothing changed.
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

    With `recheck`, the guard was satisfied at the time of the probe, but an earlier action may change that. The host
    evaluates the guard again and usually does nothing, so plans do not list the action.
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
        follow = ("follow",) if command.follow else ()
        bundle.step(self.subject(), "run_command", number, str(command.timeout), *follow)


def _guards(item: Command) -> Mapping[str, str]:
    return {item.name: item.unless}


def _compare(item: Command, situation: Situation) -> Iterator[Run]:
    if not situation.observed.guards.get(item.name, False):
        yield Run(item)
    elif situation.begun and item.payload is None:
        # This plan's own changes may break a guard that was satisfied, such as "at most five releases".
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
