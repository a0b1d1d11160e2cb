"""The command behind `inv secrets.rotate`: a new value on every host, without an outage."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from invoke.exceptions import Exit

from plainstack.cli.changes import apply
from plainstack.cli.command import load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.engine.declared import by_name, needed
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki, rotation, store
from plainstack.secrets.declaration import FromCommand, Generated, Given, Origin
from plainstack.secrets.format import Store
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.store import Opened


def rotate(inventory: str, name: str, *, revoke: bool, accept_outage: bool = False) -> None:
    """Run `inv secrets.rotate`."""
    console = Console()
    with reporting(console):
        stack = load(inventory)
        roles = roles_of(stack)
        opened = store.look(stack, needed(stack, roles), datetime.now(UTC))
        if name.startswith(CERTIFICATE) and name.removeprefix(CERTIFICATE) in pki.AUTHORITIES:
            raise Refused(
                f"{name} cannot be rotated by hand: every host trusts it. A deploy replaces it in the 90 days before it"
                " expires"
            )
        declared = by_name(stack, roles).get(name)
        # Certificates and secrets of removed roles are not declared, but are generated, too.
        origin = declared.origin if declared else Generated()
        strategy: RotationStrategy = declared.rotation if declared else "at once"
        _must_be_rotatable(name, origin, strategy, opened, revoke=revoke)
        store.load(stack, needed(stack, roles), datetime.now(UTC), console.line)
        entry = store.read(stack).entries.get(name)
        if entry and rotation.unfinished(entry, strategy):
            console.line(f"continuing the unfinished rotation of {name}", "bold")
        else:
            _must_be_deployed(stack, console)
            if isinstance(origin, Generated):
                _change(stack, name, strategy, origin.length)
        _roll_out(stack, name, strategy, console, accept_outage=accept_outage)
        if revoke and not name.startswith(CERTIFICATE) and store.read(stack).entries[name].previous:
            console.line(f"{name}: revoking the previous value", "bold")
            store.change(stack, lambda store: _with(store, name, rotation.revoke(store.entries[name])))
            _deploy(stack, name, console, accept_outage=accept_outage)
        console.line(f"{name}: every host has the new value", "bold green")


def _roll_out(stack: Stack, name: str, strategy: RotationStrategy, console: Console, *, accept_outage: bool) -> None:
    """Deploy each state of the rotation in turn until it is finished."""
    while True:
        _deploy(stack, name, console, accept_outage=accept_outage)
        if name.startswith(CERTIFICATE):
            return
        if not rotation.unfinished(store.read(stack).entries[name], strategy):
            return
        store.change(stack, lambda store: _with(store, name, rotation.advance(store.entries[name], strategy)))


def _must_be_rotatable(name: str, origin: Origin, strategy: RotationStrategy, opened: Opened, *, revoke: bool) -> None:
    vault = opened.vault
    if isinstance(origin, FromCommand):
        raise Refused(f"{name} comes from a command and is not in the store; replace it at its source")
    if isinstance(origin, Given):
        entry = opened.wanted.entries.get(name)
        unfinished = entry is not None and rotation.unfinished(entry, strategy)
        if not unfinished and not (revoke and entry and entry.previous):
            raise Refused(f"{name} is not generated; set its new value: inv secrets.set {name}")
        return
    known = [*sorted(vault.passwords), *(CERTIFICATE + certificate for certificate in sorted(vault.certificates))]
    if name not in known:
        raise Refused(f"no secret is called {name!r}; known: {', '.join(known)}")


def _change(stack: Stack, name: str, strategy: RotationStrategy, length: int) -> None:
    if name.startswith(CERTIFICATE):
        gone = name.removeprefix(CERTIFICATE)
        store.change(
            stack, lambda store: replace(store, pki={key: pair for key, pair in store.pki.items() if key != gone})
        )
        return
    value, now = rotation.generate(name, length), datetime.now(UTC)
    store.change(stack, lambda store: _with(store, name, rotation.begin(store.entries[name], strategy, value, now)))


def _with(store: Store, name: str, entry: rotation.Entry) -> Store:
    return replace(store, entries={**store.entries, name: entry})


def _must_be_deployed(stack: Stack, console: Console) -> None:
    """Raise Refused if a host fails or has other changes pending.

    A rotation must reach every host, and must not deploy any other change.
    """
    from plainstack.deploy.observe import Observer

    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer:
        view = observer.observe(console.progress())
    if view.failed:
        reasons = "\n".join(str(error) for error in view.failed.values())
        raise Refused(f"{reasons}\nA rotation needs every host. Nothing was changed")
    if view.pending:
        hosts = ", ".join(view.pending)
        raise Refused(f"there are other changes to deploy on {hosts}. Nothing was rotated. Run this first: inv deploy")


def _deploy(stack: Stack, name: str, console: Console, *, accept_outage: bool) -> None:
    from plainstack.deploy.observe import Observer

    began = time.monotonic()
    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer:
        observer.accept_outage = accept_outage
        view = observer.observe(console.progress(), to_apply=True)
        code = int(bool(view.failed))
        for error in view.failed.values():
            console.error(str(error))
        # Hosts in different states work together only across one step, so no host changes while another one fails.
        if not code and view.pending:
            code = apply(observer, view, console, began, json=False, action="secrets.rotate")
    if code:
        console.error(
            f"{name}: not rotated on every host yet. The stack still works. Run the same command again to continue"
        )
        raise Exit(code=code)
