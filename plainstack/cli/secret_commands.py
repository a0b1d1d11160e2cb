"""The commands behind `inv secrets.*`: listing secrets, editing them, and rotating them without an outage."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from invoke.exceptions import Exit

from plainstack.cli.console import Console
from plainstack.cli.deploy_commands import apply, document, load, roles_of, told
from plainstack.engine.declared import by_name, needed, rotations, uses
from plainstack.engine.role import Role
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki, rotation, store
from plainstack.secrets.declaration import DeclaredSecret, FromCommand, Generated, Given
from plainstack.secrets.format import Store
from plainstack.secrets.listing import CERTIFICATE, rows
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.values import Secret, Vault


def list_all(inventory: str, *, json: bool) -> None:
    """inv secrets.list"""
    console = Console(json=json)
    with told(console, json=json, shows=True):
        stack = load(inventory)
        roles = roles_of(stack)
        opened = store.look(stack, needed(stack, roles), datetime.now(UTC))
        found = [*rows(store.read(stack), uses(stack, roles), rotations(stack, roles), datetime.now(UTC))]
        if json:
            document([row.__dict__ for row in found])
        else:
            table = [(row.name, row.age, row.state, row.told_uses()) for row in found]
            console.table(("secret", "made", "state", "used by"), table)
            for sentence in opened.unsaved:
                console.line(f"a deploy would {sentence}")


def edit(inventory: str) -> None:
    """inv secrets.edit"""
    console = Console()
    with told(console):
        from plainstack.secrets import editor

        stack = load(inventory)
        roles = roles_of(stack)
        editable = set(_open(stack, roles, console).passwords) & set(by_name(stack, roles))
        entries = store.read(stack).entries
        before = {name: entry.value.reveal() for name, entry in entries.items() if name in editable}

        def again(problem: str) -> bool:
            console.error(problem)
            return console.ask("return to the editor? [y/N] ") == "y"

        after = editor.edit(stack.stack, before, again)
        changed = sorted(name for name in after if after[name] != before[name])
        if not changed:
            console.line("nothing was changed")
            return
        _save_edited(stack, {name: (before[name], after[name]) for name in changed}, rotations(stack, roles))
        for name in changed:
            console.line(f"changed: {name}")
        staged = [name for name in changed if rotation.is_staged(rotations(stack, roles).get(name, "at once"))]
        commands = [f"inv secrets.rotate {name}" for name in staged]
        if len(staged) < len(changed):
            commands.insert(0, "inv deploy")
        console.line(f"not deployed yet; to deploy: {', then '.join(commands)}", "bold")


def _save_edited(
    stack: Stack, changed: Mapping[str, tuple[str, str]], strategies: Mapping[str, RotationStrategy]
) -> None:
    def merge(store: Store) -> Store:
        entries = dict(store.entries)
        for name, (before, after) in changed.items():
            strategy = strategies.get(name, "at once")
            if entries[name].value.reveal() != before:
                raise Refused(
                    f"another run changed {name} in the meantime; nothing was saved. Run the same command again"
                )
            if rotation.unfinished(entries[name], strategy):
                raise Refused(
                    f"{name} is being rotated; finish that first: inv secrets.rotate {name}. Nothing was saved"
                )
            entries[name] = rotation.begin(entries[name], strategy, Secret(name, after), datetime.now(UTC))
        return replace(store, entries=entries)

    store.change(stack, merge)


def rotate(inventory: str, name: str, *, revoke: bool) -> None:
    """inv secrets.rotate"""
    console = Console()
    with told(console):
        stack = load(inventory)
        roles = roles_of(stack)
        vault = store.look(stack, needed(stack, roles), datetime.now(UTC)).vault
        if name.startswith(CERTIFICATE) and name.removeprefix(CERTIFICATE) in pki.AUTHORITIES:
            raise Refused(
                f"{name} cannot be rotated by hand: every host trusts it. A deploy replaces it in the 90 days before it"
                " expires"
            )
        _must_be_rotatable(name, stack, roles, vault)
        _open(stack, roles, console)
        strategy = rotations(stack, roles).get(name, "at once")
        going_on = not name.startswith(CERTIFICATE) and rotation.unfinished(store.read(stack).entries[name], strategy)
        if going_on:
            console.line(f"continuing the unfinished rotation of {name}", "bold")
        else:
            _must_be_deployed(stack, console)
            _change(stack, name, strategy, by_name(stack, roles).get(name))
        _roll_out(stack, name, strategy, console)
        if revoke and not name.startswith(CERTIFICATE) and store.read(stack).entries[name].previous:
            console.line(f"{name}: revoking the previous value", "bold")
            store.change(stack, lambda store: _with(store, name, rotation.revoke(store.entries[name])))
            _deploy(stack, name, console)
        console.line(f"{name}: every host has the new value", "bold green")


def _roll_out(stack: Stack, name: str, strategy: RotationStrategy, console: Console) -> None:
    """Deploy each state of the rotation in turn until it is finished."""
    while True:
        _deploy(stack, name, console)
        if name.startswith(CERTIFICATE):
            return
        if not rotation.unfinished(store.read(stack).entries[name], strategy):
            return
        store.change(stack, lambda store: _with(store, name, rotation.advance(store.entries[name], strategy)))


def _must_be_rotatable(name: str, stack: Stack, roles: Mapping[str, Role], vault: Vault) -> None:
    declared = by_name(stack, roles).get(name)
    if declared and isinstance(declared.origin, FromCommand):
        raise Refused(
            f"{name} is printed by a command, which the inventory or the role names; change it where it is kept"
        )
    if declared and isinstance(declared.origin, Given):
        raise Refused(f"{name} is set by a person: set the new value with inv secrets.set {name}")
    if name not in _known(vault):
        raise Refused(f"no secret is called {name!r}; known: {', '.join(_known(vault))}")


def _change(stack: Stack, name: str, strategy: RotationStrategy, declared: DeclaredSecret | None) -> None:
    if name.startswith(CERTIFICATE):
        gone = name.removeprefix(CERTIFICATE)
        store.change(
            stack, lambda store: replace(store, pki={key: pair for key, pair in store.pki.items() if key != gone})
        )
        return
    # Nobody declares a secret that is left from a role that is gone.
    length = declared.origin.length if declared and isinstance(declared.origin, Generated) else Generated().length
    value, now = rotation.generate(name, length), datetime.now(UTC)
    store.change(stack, lambda store: _with(store, name, rotation.begin(store.entries[name], strategy, value, now)))


def _with(store: Store, name: str, entry: rotation.Entry) -> Store:
    return replace(store, entries={**store.entries, name: entry})


def _must_be_deployed(stack: Stack, console: Console) -> None:
    """Raise Refused if a host fails or has other changes pending: a rotation deploys only itself, to every host."""
    from plainstack.deploy.observe import Observer

    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer:
        view = observer.observe(console.progress())
    if view.failed:
        reasons = "\n".join(str(error) for error in view.failed.values())
        raise Refused(f"{reasons}\na rotation needs every host; nothing was changed")
    if view.pending:
        hosts = ", ".join(view.pending)
        raise Refused(f"there are other changes to deploy on {hosts}: run inv deploy first. Nothing was rotated")


def _deploy(stack: Stack, name: str, console: Console) -> None:
    from plainstack.deploy.observe import Observer

    began = time.monotonic()
    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer:
        view = observer.observe(console.progress(), to_apply=True)
        code = int(bool(view.failed))
        for error in view.failed.values():
            console.error(str(error))
        # Every state must hold on all hosts, so none of them moves on while one is missing.
        if not code and view.pending:
            code = apply(observer, view, console, began, json=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if code:
        console.error(
            f"{name}: not rotated on every host yet; the stack still works. Run the same command again to continue"
        )
        raise Exit(code=code)


def _open(stack: Stack, roles: Mapping[str, Role], console: Console) -> Vault:
    return store.load(stack, needed(stack, roles), datetime.now(UTC), console.line)


def _known(vault: Vault) -> list[str]:
    return [*sorted(vault.passwords), *(CERTIFICATE + name for name in sorted(vault.certificates))]
