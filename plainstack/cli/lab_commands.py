"""The commands behind `inv lab.*`: an inventory's hosts as real hosts on this machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.errors import InventoryError, Refused
from plainstack.inventory.listed import listed
from plainstack.inventory.stack import Stack
from plainstack.lab.of_inventory import of
from plainstack.wording import counted

# Lab settings that do not affect what is deployed on its hosts.
_NOT_DEPLOYED = {"name", "disks", "sites", "links", "debian", "no_ipv6"}


def up(inventory: str, from_snapshot: str | None = None, host: str = "") -> None:
    """Run `inv lab.up`."""
    console = Console()
    with reporting(console):
        from plainstack.lab.up import up as lab_up

        stack = load(inventory)
        only = _machines(stack, host)
        if from_snapshot == "":
            raise Refused(
                "--from has no name of a snapshot. inv lab.snapshots lists them; without --from, hosts are bare"
            )
        if from_snapshot:
            _start_from(stack, from_snapshot, only, console)
        else:
            lab_up(of(stack), _report(console), only)


def _start_from(stack: Stack, name: str, only: tuple[str, ...], console: Console) -> None:
    from plainstack.lab import keep
    from plainstack.lab.ready import await_ready

    began = time.monotonic()
    found = keep.start_from(of(stack), name, stack.stack, _kept_files(stack), only, _report(console))
    console.line(f"lab: started from snapshot {name} of {found.created}, commit {found.origin.commit}")
    if found.origin.digest != digest(stack):
        console.line("lab: the inventory has changed since the snapshot; inv plan shows what a deploy would do")
    await_ready(stack, roles_of(stack), only, console.line, began)


def save(inventory: str, name: str, *, down: bool) -> None:
    """Run `inv lab.save`."""
    console = Console()
    with reporting(console):
        from plainstack.deploy.operator import commit
        from plainstack.lab import keep
        from plainstack.lab.ready import await_ready, stop_order
        from plainstack.lab.snapshot import Origin

        began = time.monotonic()
        stack = load(inventory)
        origin = Origin(stack.stack, str(Path(inventory).resolve()), digest(stack), commit(stack))
        order = stop_order(stack, roles_of(stack))
        made = keep.save(of(stack), name, origin, _kept_files(stack), order, _report(console), remove=down)
        console.line(f"snapshot {name}: {made.size >> 20} MiB, after {time.monotonic() - began:.1f} s")
        if not down:
            await_ready(stack, roles_of(stack), (), console.line, began)
        console.line(f"start from it: inv lab.up --from={name}")


def snapshots(*, json: bool) -> None:
    """Run `inv lab.snapshots`."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.lab.machine import require_root
        from plainstack.lab.snapshot import every
        from plainstack.wording import duration

        require_root("lab.snapshots")
        now = datetime.now(UTC)
        found, unusable = every()
        if json:
            document([asdict(one) for one in found])
        elif found:
            header = ("name", "age", "size", "stack", "hosts", "image", "commit", "inventory")
            console.table(
                header,
                [
                    (
                        one.name,
                        duration(one.age(now)),
                        f"{one.size >> 20} MiB",
                        one.origin.stack,
                        str(len(one.hosts)),
                        one.image,
                        one.origin.commit,
                        one.origin.inventory,
                    )
                    for one in found
                ],
            )
        elif not unusable:
            console.line("no snapshots. To save one: inv lab.save NAME")
        for problem in unusable:
            console.error(problem)


def forget(name: str) -> None:
    """Run `inv lab.forget`."""
    console = Console()
    with reporting(console):
        from plainstack.lab.keep import forget as lab_forget

        lab_forget(name, _report(console))
        console.line(f"removed snapshot {name}")


def down(inventory: str, *, every: bool = False, yes: bool = False) -> None:
    """Run `inv lab.down`."""
    console = Console()
    with reporting(console):
        from plainstack.lab import up

        if every:

            def agreed(count: int) -> bool:
                if yes or console.ask(f"remove {counted(count, 'lab')} with all hosts and disks? [y/N] ") == "y":
                    return True
                raise Refused("no lab was removed. Answer y, or use --yes to skip this question")

            up.down_all(_report(console), agreed)
        else:
            try:
                lab = of(load(inventory))
            except InventoryError as error:
                cure = "No lab was removed. To remove all labs of this machine, after a question: inv lab.down --all"
                raise InventoryError([*error.problems, cure]) from None
            up.down(lab, _report(console))


def status(inventory: str) -> None:
    """Run `inv lab.status`."""
    console = Console()
    with reporting(console, shows=True):
        from plainstack.lab.up import FORMER_OFF
        from plainstack.lab.up import status as lab_status

        states = lab_status(of(load(inventory)))
        for host, state in states.items():
            console.line(f"{host:<12} {state}")
    if any(state not in ("up", FORMER_OFF) for state in states.values()):
        raise Exit(code=1)


def break_host(
    inventory: str, host: str, *, cut: bool, freeze: bool, fill_disk: bool, reboot: bool, power_off: bool
) -> None:
    """Run `inv lab.break`."""
    console = Console()
    with reporting(console):
        from plainstack.lab import breaks

        lab = of(load(inventory))
        if not (cut or freeze or fill_disk or reboot or power_off):
            raise Refused("no fault given. Choose --cut, --freeze, --fill-disk, --reboot or --power-off")
        if reboot:
            breaks.reboot(lab, host, _report(console))
        if fill_disk:
            breaks.fill_disk(lab, host)
            console.line(f"{host}: disk filled")
        if cut:
            breaks.cut(lab, host)
            console.line(f"{host}: network cables pulled")
        if freeze:
            breaks.freeze(lab, host)
            console.line(f"{host}: frozen")
        if power_off:
            breaks.power_off(lab, host)
            console.line(f"{host}: powered off")
        if cut or freeze or fill_disk or power_off:
            console.line(f"to undo it: inv lab.mend {host}")


def mend(inventory: str, host: str) -> None:
    """Run `inv lab.mend`."""
    console = Console()
    with reporting(console):
        from plainstack.lab import breaks

        breaks.mend(of(load(inventory)), host, _report(console))
        console.line(f"{host}: mended")


def shell(inventory: str, host: str) -> NoReturn:
    """Run `inv lab.shell`."""
    console = Console()
    with reporting(console):
        from plainstack.lab.up import shell as lab_shell

        lab_shell(of(load(inventory)), host)
    raise Exit(code=1)


def _report(console: Console) -> Callable[[str, str], None]:
    return lambda host, what: console.line(f"{host}: {what}")


def _machines(stack: Stack, names: str) -> tuple[str, ...]:
    """Return the hosts and visitors that --host names, or () for all. Raises Refused on an unknown name."""
    known = [*stack.hosts, *stack.lab.visitors]
    chosen = tuple(listed(names, "--host"))
    if unknown := [name for name in chosen if name not in known]:
        raise Refused(f"the lab has no host {', '.join(unknown)}. Its hosts: {', '.join(known)}")
    return chosen


def _kept_files(stack: Stack) -> dict[str, Path]:
    """Return the files on the operator's machine that a snapshot also contains, by their names in the snapshot."""
    from plainstack.secrets import store_files

    return {"secrets.yaml": store_files.plain_path(stack), "secrets.age": store_files.sealed_path(stack)}


def digest(stack: Stack) -> str:
    """Return a digest of what an inventory deploys: 12 hex digits, the same in any folder and under any lab name."""
    text = stack.model_dump_json(exclude={"folder": True, "lab": _NOT_DEPLOYED})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
