"""A transaction -> the tar stream with its POSIX sh script: validate, activate, reload, stamp and probe again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.registry import KINDS
from plainstack.engine.observed import Entry
from plainstack.engine.paths import GUARD_SECONDS, STATE
from plainstack.engine.plan.actions import Action, PackageTransaction, Transaction, UnitAction
from plainstack.engine.probe import DIVIDER
from plainstack.engine.resources import File
from plainstack.engine.transaction.bundle import Bundle, Members
from plainstack.engine.transaction.room import ROOM
from plainstack.engine.transaction.unit_steps import Load, arrange

# Packages without which apt cannot read HTTPS sources.
_APTS_OWN = ("ca-certificates",)

_FRAME = ("frame", "undo", "preview", "state", "sockets", "guard", "look")


@cache
def library() -> str:
    """Return the shell functions that steps call: the common ones, and those of every kind."""
    here = Path(__file__).parent
    frame = [here / f"sh/{part}.sh" for part in _FRAME]
    kinds = [here.parent / f"kinds/{part}.sh" for part in dict.fromkeys(kind.functions for kind in KINDS) if part]
    return "\n".join(part.read_text(encoding="utf-8") for part in (*frame, *kinds))


@dataclass(frozen=True)
class Script:
    """One exec on a host: its input, a tar stream, and the lines of the script in that stream."""

    run_id: str
    stream: bytes
    lines: tuple[str, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps, in order."""
        return tuple(shlex.split(line)[1] for line in self.lines if line.startswith("step "))

    @property
    def generation(self) -> str:
        """The host's generation after this transaction succeeds, until another one begins."""
        return f"{self.run_id}.done"

    @property
    def command(self) -> str:
        """The command that unpacks the stream and runs the script.

        If the disk is too full to unpack, it cleans up, and says how much room is missing.
        """
        needed = len(self.stream) // 1024 + 1024
        run = f"${{ROOT:-}}{STATE}/runs/{self.run_id}"
        receive = (
            f"umask 077; RUN={run}; export RUN"
            "; { mkdir $RUN 2>/dev/null || { mkdir -p ${RUN%/*} && mkdir $RUN; }; }"
            f" && head -c {len(self.stream)} | tar -x -m -p -f - -C $RUN --no-same-owner"
            f" && [ -f $RUN/apply.sh ] || {{ rm -rf $RUN; set -- ${{RUN%/*}} {needed}; {ROOM}; exit 74; }}"
            "; exec 7<&0; exec sh $RUN/apply.sh"
        )
        return f"sh -c {shlex.quote(receive)}"


def transaction(
    work: Transaction,
    run_id: str,
    audit: Mapping[str, object],
    payloads: Mapping[str, Members],
    probe: str = "",
    stop_after: int | None = None,
    planned_at: str | None = None,
) -> Script:
    """Return the script of a role's transaction; `payloads` are by command name.

    `planned_at` is the host's generation at the time of the probe; if the host's generation differs when the script
    runs, the script changes nothing. `probe`, if given, runs at the end. If the last step pauses to see whether units
    stay up, the probe reads the resources during that pause. `stop_after` kills the script after that many steps, for
    tests of interrupted runs.
    """
    bundle = alone_on_the_host(planned_at, work.role, payloads)
    numbers = {id(action): str(number) for number, action in enumerate(work.actions, 1)}
    bundle.file("shade.sh", "\n".join(action.shade(numbers[id(action)]) for action in work.actions) + "\n")
    for number, validation in enumerate(work.validations, 1):
        name = bundle.file(f"validate.{number}", validation.run + "\n")
        bundle.lines.append(f'step {shlex.quote("validate " + validation.name)} shadow "$RUN/{name}"')
    bundle.step("begin", "begin")
    bundle.file("manifest.both", _manifest(work.transition))
    bundle.lines.append(
        f'step "record the planned changes in the manifest" write_manifest "$RUN/manifest.both" {work.role}'
    )
    if work.guarded:
        bundle.lines.append("GUARDED=yes")
        bundle.step("arm the lock-out guard", "arm", str(GUARD_SECONDS))
    _kernel_state(work.actions, bundle)
    for unit, stamp in work.stale:
        bundle.step(f"record that {unit} has not loaded its changed files yet", "keep_stamp", unit, stamp)
    parts = arrange(work.actions)
    new = [(numbers[id(part)], part.new_file) for part in parts if isinstance(part, Action) and part.new_file]
    first = next((number for number, part in enumerate(parts, 1) if isinstance(part, Action) and part.new_file), None)
    for number, part in enumerate(parts, 1):
        if number == first:
            _add_files(new, bundle)
        if probe and number == len(parts) and isinstance(part, Load) and part.pauses:
            bundle.lines.append("LOOK_IN_PAUSE=yes")
        part.steps(numbers.get(id(part), f"part{number}"), bundle)
    bundle.file("manifest.new", _manifest(work.manifest))
    bundle.lines.append(f'step "record the new state in the manifest" write_manifest "$RUN/manifest.new" {work.role}')
    return finish(bundle, run_id, audit, probe, stop_after)


def packages(
    work: PackageTransaction,
    run_id: str,
    audit: Mapping[str, object],
    probe: str = "",
    stop_after: int | None = None,
    planned_at: str | None = None,
) -> Script:
    """Return the script of a host's apt transaction; for the other arguments, see `transaction`."""
    bundle = alone_on_the_host(planned_at)
    bundle.step("begin", "begin")
    for role, entries in work.transition:
        bundle.file(f"manifest.{role}", _manifest(entries))
        bundle.lines.append(
            f'step "record the planned changes in the manifest" write_manifest "$RUN/manifest.{role}" {role}'
        )
    for number, path in enumerate(work.cleared, len(work.early) + 1):
        bundle.step(f"remove {path}", "remove_path", str(number), path)
    bundle.step("finish an interrupted dpkg", "finish_dpkg")
    bundle.step("keep daemons from starting", "hold_daemons")
    numbered = [*enumerate(work.early, 1)]
    sources = [each for each in numbered if each[1].path.startswith("/etc/apt/sources.list.d/")]
    own = [name for name in work.install if name in _APTS_OWN and sources]
    _early(bundle, [each for each in numbered if each not in sources])
    if own:
        bundle.step("refresh package lists, for packages that apt itself needs", "refresh_lists", "now")
        bundle.step(f"install {' '.join(own)}", "apt_install", " ".join(work.consented), *own)
    _early(bundle, sources)
    for number, check in enumerate(work.checks, 1):
        name = bundle.file(f"validate.{number}", check.run + "\n")
        bundle.lines.append(f'step {shlex.quote("validate " + check.name)} check "$RUN/{name}"')
    if work.preseeds:
        answers = "".join(f"{item.package} {item.question} {item.kind} {item.value}\n" for item in work.preseeds)
        bundle.file("answers", answers)
        bundle.lines.append('step "answer debconf\'s questions" quietly debconf-set-selections "$RUN/answers"')
    if work.install:
        stale = "now" if any(item.path.startswith("/etc/apt/") for item in work.early) else "daily"
        bundle.step("refresh package lists", "refresh_lists", stale)
        count = f"{len(work.install)} package{'s' if len(work.install) != 1 else ''}"
        bundle.step(f"install {count}", "apt_install", " ".join(work.consented), *work.install)
    if work.purge:
        bundle.step(f"purge {' '.join(work.purge)}", "apt_purge", *work.purge)
    bundle.step("release daemons", "release_daemons")
    return finish(bundle, run_id, audit, probe, stop_after)


def _early(bundle: Bundle, files: Iterable[tuple[int, File]]) -> None:
    numbered = [(str(number), item) for number, item in files]
    _add_files(numbered, bundle)
    for number, item in numbered:
        bundle.step(f"write {item.path}", "put", number, item.path, f"{item.mode:04o}", item.owner, item.group)


def _kernel_state(actions: Sequence[Action], bundle: Bundle) -> None:
    """Add the steps that save kernel state that no file holds, before anything changes."""
    units = [action.unit for action in actions if isinstance(action, UnitAction) and action.unit.snapshot]
    for number, unit in enumerate(dict.fromkeys(units), 1):
        snapshot = bundle.file(f"snapshot.{number}", unit.snapshot + "\n")
        restore = bundle.file(f"restore.{number}", unit.restore + "\n")
        bundle.step(f"save the live state of {unit.name}", "keep_kernel_state", snapshot, restore)


def _add_files(files: Iterable[tuple[str, File]], bundle: Bundle) -> None:
    """Add files to the bundle with their modes, and for each owner but root a step that sets the owner."""
    owned: dict[str, list[str]] = {}
    for number, item in files:
        bundle.file(f"new/{number}", item.content, item.mode)
        if (item.owner, item.group) != ("root", "root"):
            owned.setdefault(f"{item.owner}:{item.group}", []).append(number)
    for owner, numbers in owned.items():
        count = f"{len(numbers)} file{'s' if len(numbers) != 1 else ''}"
        bundle.step(f"give {count} to {owner}", "give", owner, *numbers)


def alone_on_the_host(planned_at: str | None, role: str = "", payloads: Mapping[str, Members] | None = None) -> Bundle:
    """Return the beginning of every script: it waits for the host's lock, and stops if the plan is not up to date."""
    bundle = Bundle(role, payloads or {})
    bundle.step("wait for the host's lock", "take_apply_lock")
    if planned_at is not None:
        bundle.step("check that no other run has changed the host", "unchanged_since", planned_at)
    bundle.lines.append("watch_controller")
    return bundle


def finish(
    bundle: Bundle,
    run_id: str,
    audit: Mapping[str, object],
    probe: str,
    stop_after: int | None,
    afterwards: Sequence[str] = (),
) -> Script:
    """Return the script with its end: the audit, the commands `afterwards`, and the probe."""
    bundle.file("audit", json.dumps(audit) + "\n")
    for state in ("begun", "done", "undone"):
        bundle.file(f"generation.{state}", f"{run_id}.{state}\n")
    bundle.file("library.sh", library())
    head = ['. "$RUN/library.sh"', "trap 'STEP=\"$STEP (ended unexpectedly)\"; fail 99' EXIT", "STEP=start"]
    lines = [*head, *bundle.lines]
    if stop_after is not None:
        lines = _interrupt(lines, stop_after)
    tail = ["end", *afterwards]
    if probe:
        kept, _, resources = probe.partition(DIVIDER)
        bundle.file("probe.kept", kept)
        bundle.file("probe.resources", resources)
        tail = ["read_probe", *tail, "look_again"]
    bundle.file("apply.sh", "\n".join([*lines, *tail]) + "\n")
    return Script(run_id, bundle.tar(), tuple(bundle.lines))


def _interrupt(lines: Sequence[str], stop_after: int) -> list[str]:
    done: list[str] = []
    steps = 0
    for line in lines:
        done.append(line)
        if line.startswith("step "):
            steps += 1
            if steps == stop_after:
                done.append("kill -KILL $$")
    return done


def _manifest(entries: Sequence[Entry]) -> str:
    return "".join(entry.line() + "\n" for entry in entries)
