"""Action -> the steps that do it in a transaction's script, and the files that travel for them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from plainstack.engine.plan.actions import (
    Action,
    DaemonReload,
    MakeUser,
    Put,
    Remove,
    RemoveUser,
    Run,
    SetSysctl,
    UnitAction,
)
from plainstack.engine.resources import Directory, File, Link
from plainstack.engine.transaction.unit_steps import Load, Part, Switch, awaited_ports

Members = Sequence[tuple[str, bytes]]


@dataclass
class Bundle:
    """Files that travel, and the lines of the script that uses them."""

    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def step(self, name: str, *words: str) -> None:
        """One named step; a step is where a run may be interrupted."""
        self.lines.append(" ".join(["step", shlex.quote(name), *(shlex.quote(word) for word in words)]))

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        self.files[name] = content if isinstance(content, bytes) else content.encode()
        self.modes[name] = mode
        return name


def shade(action: Action, number: str) -> str:
    """The step of a validation's preview of /etc."""
    if isinstance(action, Put):
        item = action.resource
        if isinstance(item, File):
            return shlex.join(["shade_put", number, item.path, f"{item.mode:04o}", item.owner, item.group])
        if isinstance(item, Link):
            return shlex.join(["shade_link", item.path, item.target])
        return shlex.join(["shade_dir", item.path, f"{item.mode:04o}", item.owner, item.group])
    if isinstance(action, Remove) and not action.folder:
        return shlex.join(["shade_remove", action.path])
    return ":"


def kernel_state(actions: Sequence[Action], bundle: Bundle) -> None:
    """The steps that keep what no file holds, before anything changes."""
    units = [action.unit for action in actions if isinstance(action, UnitAction) and action.unit.snapshot]
    for number, unit in enumerate(dict.fromkeys(units), 1):
        snapshot = bundle.file(f"snapshot.{number}", unit.snapshot + "\n")
        restore = bundle.file(f"restore.{number}", unit.restore + "\n")
        bundle.step(f"keep the live state of {unit.name}", "keep_kernel_state", snapshot, restore)


def stage(files: Iterable[tuple[str, File]], bundle: Bundle) -> None:
    """Let files travel with their modes, and give them to their owners, all of one owner at once."""
    owned: dict[str, list[str]] = {}
    for number, item in files:
        bundle.file(f"new/{number}", item.content, item.mode)
        if (item.owner, item.group) != ("root", "root"):
            owned.setdefault(f"{item.owner}:{item.group}", []).append(number)
    for owner, numbers in owned.items():
        count = f"{len(numbers)} file{'s' if len(numbers) != 1 else ''}"
        bundle.step(f"give {count} to {owner}", "give", owner, *numbers)


def act(action: Part, number: str, bundle: Bundle, role: str, payloads: Mapping[str, Members]) -> None:
    """The step of an action or of several; `number` tells its files from those of others."""
    name = action.subject()
    if isinstance(action, Switch):
        bundle.step(name, "switch_units", action.verb, "later" if action.reread_later else "now", *action.units)
    elif isinstance(action, Load):
        _load(action, number, bundle)
    elif isinstance(action, Put):
        _put(action, number, bundle)
    elif isinstance(action, Remove):
        if action.folder:
            bundle.step(name, f"remove_{action.kind}", action.path)
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
        bundle.step(name, "stop_unit", action.unit.name)
    elif isinstance(action, Run):
        command = action.command
        bundle.file(f"command.{number}.run", command.run + "\n")
        bundle.file(f"command.{number}.unless", command.unless + "\n")
        if command.undo:
            bundle.file(f"command.{number}.undo", command.undo + "\n")
        for member, content in payloads.get(command.name, ()):
            bundle.file(f"payload.{number}/{member}", content)
        bundle.step(name, "run_command", number, str(command.timeout))


def _load(load: Load, number: str, bundle: Bundle) -> None:
    words = [
        word
        for action in load.actions
        for word in (action.verb, action.unit.name, action.stamp, str(action.unit.timeout))
    ]
    unit = load.actions[0].unit
    ports = awaited_ports(load.actions[0])
    if unit.health or ports:
        health = bundle.file(f"health.{number}", unit.health + "\n") if unit.health else ""
        bundle.step(load.subject(), "load_unit", *words, health, *ports)
    else:
        bundle.step(load.subject(), "load_units", *words)


def _put(action: Put, number: str, bundle: Bundle) -> None:
    item = action.resource
    if isinstance(item, Link):
        bundle.step(action.subject(), "make_link", number, item.path, item.target)
        return
    rights = (item.path, f"{item.mode:04o}", item.owner, item.group)
    if isinstance(item, Directory):
        bundle.step(action.subject(), "make_directory", *rights)
    elif action.attributes:
        # For a validation's preview.
        bundle.file(f"new/{number}", item.content)
        bundle.step(action.subject(), "set_attributes", *rights)
    else:
        bundle.step(action.subject(), "put", number, *rights)
