"""The commands behind `inv secrets.list`, `edit`, `set` and `unset`."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.engine.declared import by_name, needed, uses
from plainstack.errors import Refused
from plainstack.secrets import rotation, store
from plainstack.secrets.declaration import LONGEST, DeclaredSecret, FromCommand, Generated, unfit
from plainstack.secrets.format import Store
from plainstack.secrets.listing import rows
from plainstack.wording import did_you_mean

# Characters. A terminal silently cuts off a longer line: Linux at 4095, macOS at 1023.
LONGEST_LINE = 1000


def list_all(inventory: str, *, json: bool) -> None:
    """Run `inv secrets.list`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        stack = load(inventory)
        roles = roles_of(stack)
        opened = store.look(stack, needed(stack, roles), datetime.now(UTC))
        found = [*rows(opened.found.store, uses(stack, roles), by_name(stack, roles), datetime.now(UTC))]
        if json:
            document([row.__dict__ for row in found])
        else:
            table = [(row.name, row.kind, row.age, row.state, row.uses_text()) for row in found]
            console.table(("secret", "kind", "made", "state", "used by"), table)
            for sentence in opened.unsaved:
                console.line(f"a deploy would {sentence}")


def edit(inventory: str) -> None:
    """Run `inv secrets.edit`."""
    console = Console()
    with reporting(console):
        from plainstack.secrets import editor

        stack = load(inventory)
        roles = roles_of(stack)
        stored = {name: secret for name, secret in by_name(stack, roles).items() if _is_stored(secret)}
        store.load(stack, needed(stack, roles), datetime.now(UTC), console.line)
        entries = store.read(stack).entries
        before = {name: entry.value.reveal() for name, entry in entries.items() if name in stored}

        def again(problem: str) -> bool:
            console.error(problem)
            return console.ask("return to the editor? [y/N] ") == "y"

        after = editor.edit(stack.stack, before, {name: secret.origin for name, secret in stored.items()}, again)
        changed = sorted(name for name in after if after[name] != before.get(name))
        if not changed:
            console.line("nothing was changed")
            return
        strategies = {name: stored[name].rotation for name in changed}
        store.set_values(stack, {name: (before.get(name), after[name]) for name in changed}, strategies, _now())
        for name in changed:
            console.line(f"changed: {name}")
        _tell_next(console, [stored[name] for name in changed], before)


def set_value(inventory: str, name: str) -> None:
    """Run `inv secrets.set`."""
    console = Console()
    with reporting(console):
        stack = load(inventory)
        secret = _declared(name, by_name(stack, roles_of(stack)))
        if not _is_stored(secret):
            raise Refused(f"{name} comes from a command and is not in the store; set it at its source")
        entry = store.read(stack).entries.get(name)
        before = entry.value.reveal() if entry else None
        if entry and rotation.unfinished(entry, secret.rotation):
            raise Refused(f"{name} is being rotated; finish that first: inv secrets.rotate {name}")
        value = _asked(name) if sys.stdin.isatty() else _piped()
        if problem := unfit(value, secret.origin):
            raise Refused(f"{name} {problem}; nothing was changed")
        if value == before:
            console.line(f"{name} has this value already")
            return
        store.set_values(stack, {name: (before, value)}, {name: secret.rotation}, _now())
        console.line(f"{name} is {'set' if before is None else 'changed'}")
        _tell_next(console, [secret], {name: before} if before is not None else {})


def unset(inventory: str, name: str) -> None:
    """Run `inv secrets.unset`."""
    console = Console()
    with reporting(console):
        stack = load(inventory)
        declared = by_name(stack, roles_of(stack))
        entries = store.read(stack).entries
        # Secrets that are no longer declared can be removed, too.
        if name not in entries or name in declared:
            secret = _declared(name, declared)
            if isinstance(secret.origin, Generated):
                raise Refused(f"{name} is generated; for a new value: inv secrets.rotate {name}")
            if not _is_stored(secret):
                raise Refused(f"{name} comes from a command and is not in the store")
            if name not in entries:
                raise Refused(f"{name} is not set")

        def without(store: Store) -> Store:
            return replace(store, entries={key: entry for key, entry in store.entries.items() if key != name})

        store.change(stack, without)
        console.line(f"{name} is removed from the store; the hosts keep what was deployed until the next deploy")


def _is_stored(secret: DeclaredSecret) -> bool:
    return not isinstance(secret.origin, FromCommand)


def _declared(name: str, known: Mapping[str, DeclaredSecret]) -> DeclaredSecret:
    if name not in known:
        hint = did_you_mean(name, list(known))
        raise Refused(f"no secret is called {name!r}{hint or '; known: ' + ', '.join(sorted(known))}")
    return known[name]


def _asked(name: str) -> str:
    try:
        value = getpass.getpass(f"{name}: ")
        if len(value) > LONGEST_LINE:
            raise Refused(f"a terminal may cut off a value this long; pipe it: inv secrets.set {name} <FILE")
        if getpass.getpass(f"{name}, again: ") != value:
            raise Refused("the two values differ; nothing was changed")
    except EOFError:
        raise Refused("no value was typed; nothing was changed") from None
    return value


def _piped() -> str:
    try:
        return sys.stdin.buffer.read(LONGEST + 2).decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise Refused("the value is not UTF-8 text; nothing was changed") from None


def _tell_next(console: Console, changed: Iterable[DeclaredSecret], before: Mapping[str, str]) -> None:
    """Print the commands that bring the changed values to the hosts."""
    commands: list[str] = []
    for secret in changed:
        rotated = rotation.in_steps(secret.rotation) and secret.name in before
        command = f"inv secrets.rotate {secret.name}" if rotated else "inv deploy"
        if command not in commands:
            commands.insert(len(commands) if rotated else 0, command)
    console.line(f"not deployed yet; to deploy: {', then '.join(commands)}", "bold")


def _now() -> datetime:
    return datetime.now(UTC)
