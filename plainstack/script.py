"""Plan -> the tar stream of one POSIX sh transaction: stage, validate, activate, reload, stamp, and probe again."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plainstack.actions import (
    Action,
    DaemonReload,
    MakeUser,
    PackageTransaction,
    Put,
    Remove,
    RemoveUser,
    Run,
    SetSysctl,
    Transaction,
    UnitAction,
)
from plainstack.observed import Entry
from plainstack.probe import STATE
from plainstack.resources import Directory, File, Link

Members = Sequence[tuple[str, bytes]]
GUARD_SECONDS = 180


@dataclass
class Bundle:
    """Files that travel, and the lines of the script that uses them."""

    files: dict[str, bytes] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def step(self, name: str, *words: str) -> None:
        """One named step; a step is where a run may be interrupted."""
        self.lines.append(" ".join(["step", shlex.quote(name), *(shlex.quote(word) for word in words)]))

    def file(self, name: str, content: str | bytes) -> str:
        self.files[name] = content if isinstance(content, bytes) else content.encode()
        return name


@dataclass(frozen=True)
class Script:
    """One exec: the command line, and the input whose first `size` bytes are the tar stream."""

    run_id: str
    stream: bytes
    steps: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that receives the stream; it leaves nothing behind when the stream does not fit on the disk."""
        run = f"${{ROOT:-}}{STATE}/runs/{self.run_id}"
        receive = (
            f"umask 077; RUN={run}; export RUN; mkdir -p ${{RUN%/*}} && mkdir $RUN"
            f" && head -c {len(self.stream)} | tar -x -f - -C $RUN --no-same-owner"
            " && [ -f $RUN/apply.sh ] || { rm -rf $RUN; exit 74; }"
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
) -> Script:
    """The script of a role's transaction; `payloads` by command name. `stop_after` ends it by SIGKILL after that many
    steps, for the tests that interrupt it everywhere."""
    bundle = Bundle()
    numbers = {id(action): str(number) for number, action in enumerate(work.actions, 1)}
    bundle.step("wait for the host's lock", "take_apply_lock")
    bundle.lines.append("watch_controller")
    bundle.file("shade.sh", "\n".join(_shade(action, numbers[id(action)]) for action in work.actions) + "\n")
    for number, validation in enumerate(work.validations, 1):
        name = bundle.file(f"validate.{number}", validation.run + "\n")
        bundle.lines.append(f'step {shlex.quote("validate " + validation.name)} shadow "$RUN/{name}"')
    bundle.step("begin", "begin")
    bundle.file("manifest.both", _manifest(work.transition))
    bundle.lines.append(f'step "note what is about to change" write_manifest "$RUN/manifest.both" {work.role}')
    if work.guarded:
        bundle.lines.append("GUARDED=yes")
        bundle.step("arm the lock-out guard", "arm", str(GUARD_SECONDS))
    _kernel_state(work.actions, bundle)
    for unit, stamp in work.stale:
        bundle.step(f"mark {unit} as not loaded", "keep_stamp", unit, stamp)
    for action in work.actions:
        _act(action, numbers[id(action)], bundle, work.role, payloads)
    bundle.file("manifest.new", _manifest(work.manifest))
    bundle.lines.append(f'step "record what was done" write_manifest "$RUN/manifest.new" {work.role}')
    return _finish(bundle, run_id, audit, probe, stop_after)


def packages(
    work: PackageTransaction,
    run_id: str,
    audit: Mapping[str, object],
    probe: str = "",
    stop_after: int | None = None,
) -> Script:
    """The script of a host's apt transaction."""
    bundle = Bundle()
    bundle.step("wait for the host's lock", "take_apply_lock")
    bundle.lines.append("watch_controller")
    bundle.step("begin", "begin")
    for role, entries in work.transition:
        bundle.file(f"manifest.{role}", _manifest(entries))
        bundle.lines.append(f'step "note what is about to change" write_manifest "$RUN/manifest.{role}" {role}')
    for number, item in enumerate(work.early, 1):
        name = bundle.file(f"new/{number}", item.content).removeprefix("new/")
        bundle.step(f"write {item.path}", "put", name, item.path, f"{item.mode:04o}", item.owner, item.group)
    for number, path in enumerate(work.cleared, len(work.early) + 1):
        bundle.step(f"remove {path}", "remove_path", str(number), path)
    if work.preseeds:
        answers = "".join(f"{item.package} {item.question} {item.kind} {item.value}\n" for item in work.preseeds)
        bundle.file("answers", answers)
        bundle.lines.append('step "answer debconf\'s questions" debconf-set-selections "$RUN/answers"')
    bundle.step("finish an interrupted dpkg", "finish_dpkg")
    bundle.step("hold daemons back", "hold_daemons")
    if work.install:
        stale = "now" if any(item.path.startswith("/etc/apt/") for item in work.early) else "daily"
        bundle.step("refresh package lists", "refresh_lists", stale)
        count = f"{len(work.install)} package{'s' if len(work.install) != 1 else ''}"
        bundle.step(f"install {count}", "apt_install", *work.install)
    if work.purge:
        bundle.step(f"purge {' '.join(work.purge)}", "apt_purge", *work.purge)
    bundle.step("release daemons", "release_daemons")
    return _finish(bundle, run_id, audit, probe, stop_after)


def _finish(bundle: Bundle, run_id: str, audit: Mapping[str, object], probe: str, stop_after: int | None) -> Script:
    bundle.file("audit", json.dumps({"at": "", "result": "", **audit}) + "\n")
    bundle.file("library.sh", Path(__file__).with_name("transaction.sh").read_bytes())
    head = ['. "$RUN/library.sh"', "trap 'STEP=\"$STEP (ended unexpectedly)\"; fail 99' EXIT", "STEP=start"]
    lines = [*head, *bundle.lines]
    if stop_after is not None:
        lines = _interrupt(lines, stop_after)
    tail = ["end"]
    if probe:
        bundle.file("probe.sh", probe)
        lines.append('probe=$(cat "$RUN/probe.sh")')
        tail.append('eval "$probe"')
    bundle.file("apply.sh", "\n".join([*lines, *tail]) + "\n")
    steps = tuple(shlex.split(line)[1] for line in bundle.lines if line.startswith("step "))
    return Script(run_id, _tar(bundle.files), steps)


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


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _manifest(entries: Sequence[Entry]) -> str:
    return "".join(entry.line() + "\n" for entry in entries)


def _shade(action: Action, number: str) -> str:
    """The step of a validation's preview of /etc."""
    if isinstance(action, Put):
        item = action.resource
        if isinstance(item, File):
            return shlex.join(["shade_put", number, item.path, f"{item.mode:04o}", item.owner, item.group])
        if isinstance(item, Link):
            return shlex.join(["shade_link", item.path, item.target])
        return shlex.join(["shade_dir", item.path, f"{item.mode:04o}", item.owner, item.group])
    if isinstance(action, Remove) and action.kind != "directory":
        return shlex.join(["shade_remove", action.path])
    return ":"


def _kernel_state(actions: Sequence[Action], bundle: Bundle) -> None:
    units = [action.unit for action in actions if isinstance(action, UnitAction) and action.unit.snapshot]
    for number, unit in enumerate(dict.fromkeys(units), 1):
        snapshot = bundle.file(f"snapshot.{number}", unit.snapshot + "\n")
        restore = bundle.file(f"restore.{number}", unit.restore + "\n")
        bundle.step(f"keep the live state of {unit.name}", "keep_kernel_state", snapshot, restore)


def _act(action: Action, number: str, bundle: Bundle, role: str, payloads: Mapping[str, Members]) -> None:
    name = action.subject()
    if isinstance(action, Put):
        _put(action, number, bundle)
    elif isinstance(action, Remove):
        if action.kind == "directory":
            bundle.step(name, "remove_directory", action.path)
        else:
            bundle.step(name, "remove_path", number, action.path)
    elif isinstance(action, MakeUser):
        user = action.user
        verb = "create_user" if action.create else "change_user"
        bundle.step(name, verb, user.name, user.home, user.shell, ",".join(user.groups))
    elif isinstance(action, RemoveUser):
        bundle.step(name, "remove_user", action.name)
    elif isinstance(action, SetSysctl):
        bundle.step(name, "set_sysctl", action.name, action.value)
    elif isinstance(action, DaemonReload):
        bundle.step(name, "reread_units", f"daemon-reload.{role}", action.stamp)
    elif isinstance(action, UnitAction):
        unit = action.unit
        if action.verb in ("start", "restart", "reload"):
            health = bundle.file(f"health.{number}", unit.health + "\n") if unit.health else ""
            bundle.step(name, "load_unit", action.verb, unit.name, action.stamp, str(unit.timeout), health)
        else:
            bundle.step(name, "switch_unit", action.verb, unit.name)
    elif isinstance(action, Run):
        command = action.command
        bundle.file(f"command.{number}.run", command.run + "\n")
        bundle.file(f"command.{number}.unless", command.unless + "\n")
        if command.undo:
            bundle.file(f"command.{number}.undo", command.undo + "\n")
        for member, content in payloads.get(command.name, ()):
            bundle.file(f"payload.{number}/{member}", content)
        bundle.step(name, "run_command", number, str(command.timeout))


def _put(action: Put, number: str, bundle: Bundle) -> None:
    item = action.resource
    if isinstance(item, Link):
        bundle.step(action.subject(), "make_link", number, item.path, item.target)
        return
    rights = (item.path, f"{item.mode:04o}", item.owner, item.group)
    if isinstance(item, Directory):
        bundle.step(action.subject(), "make_directory", *rights)
    else:
        bundle.file(f"new/{number}", item.content)
        if action.attributes:
            bundle.step(action.subject(), "set_attributes", *rights)
        else:
            bundle.step(action.subject(), "put", number, *rights)
