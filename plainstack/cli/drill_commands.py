"""The commands behind `fab failover drill` and `fab failover drills`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.dataclass import dataclass
from plainstack.drill.faults import (
    ALL,
    FAULTS,
    TARGETS,
    Fault,
    budgets,
    find,
    refuse_two_at_once,
    refuse_where_clients_would_die,
)
from plainstack.drill.measures import Budgets
from plainstack.engine.network import Network
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Database

SHORTEST, LONGEST, FASTEST = 15, 600, 1000


@dataclass(frozen=True)
class Limits:
    """The budgets as typed: empty means the default for the target and fault, `any` means no limit."""

    lost: str = ""
    gap: str = ""
    read_gap: str = ""
    failed_gets: str = ""

    def over(self, default: Budgets) -> Budgets:
        """Return these limits, with `default` for those not given; raises Refused for an invalid number."""
        return Budgets(
            lost=_limit("--max-lost", self.lost, default.lost),
            write_gap=_limit("--max-gap", self.gap, default.write_gap),
            read_gap=_limit("--max-read-gap", self.read_gap, default.read_gap),
            failed_gets=_limit("--max-failed-gets", self.failed_gets, default.failed_gets),
        )


def _limit(flag: str, text: str, default: Any) -> Any:
    if text in ("", "any"):
        return default if not text else None
    try:
        value = float(text) if flag.endswith("gap") else int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e6:
        raise Refused(f"{flag}: {text!r} is neither a number nor 'any'")
    return value


def run(action: str, inventory: str, *, json: bool, yes: bool = False, **flags: str) -> None:
    """Run `fab failover drill` or `fab failover drills`; `flags` are the options as typed, empty if not given."""
    if action == "drills":
        _past(inventory, json=json)
    else:
        _drill(inventory, {name: text for name, text in flags.items() if text}, yes=yes, json=json)


def _drill(inventory: str, flags: Mapping[str, str], *, yes: bool, json: bool) -> None:
    console = Console(json=json)
    # SIGTERM ends a drill as Ctrl-C does: the stack is repaired first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = []
    with reporting(console, json=json):
        stack = load(inventory)
        faults = chosen(stack, flags.get("target", TARGETS[0]), flags.get("fault", "kill"), console.line)
        rate = _bounded("--rate", flags.get("rate", "40"), 4, FASTEST)
        seconds = duration(faults, flags.get("seconds", ""))
        limits = Limits(**{name.removeprefix("max_"): text for name, text in flags.items() if name.startswith("max_")})
        limits.over(Budgets())
        _consent(stack, faults, console, yes=yes)
        for each in faults:
            done.append(_one(stack, each, rate, seconds, limits, console))
            if done[-1]["interrupted"]:
                break
        if json:
            document(done if len(done) > 1 else done[0])
    if not all(data["passed"] for data in done):
        raise Exit(code=1)


def chosen(stack: Stack, target: str, fault: str, report: Callable[[str], None] = lambda _: None) -> list[Fault]:
    """Return the faults to inject, in order; `all` leaves out those that are not possible on this stack.

    `report` gets the reason for each fault left out. Raises Refused if none is left, or if a single fault of a single
    target is not possible.
    """
    if fault == "all" and not stack.in_lab:
        raise Refused("--fault=all includes cut, which works only in the lab. Choose one: --fault=kill or --fault=stop")
    found: list[Fault] = []
    refused: dict[str, None] = {}
    for one in TARGETS if target == "all" else (target,):
        for name in ALL.get(one, FAULTS) if fault == "all" else (fault,):
            try:
                found.append(find(stack, one, name))
            except Refused as why:
                refused[str(why)] = None
    if not found or (refused and "all" not in (target, fault)):
        raise Refused("\n".join(refused))
    for text in refused:
        report(f"left out: {text}")
    return found


def duration(faults: Iterable[Fault], given: str) -> int:
    """Return the seconds of load: those that were given, or else as many as the faults need, but at least 30.

    Raises Refused if they are too few for a fault.
    """
    seconds = _bounded("--seconds", given or "30", SHORTEST, LONGEST)
    for fault in faults:
        if fault.needs > (seconds if given else LONGEST):
            raise Refused(
                f"{f'--seconds={given}' if given else f'a load of {LONGEST} s'} is too short for --fault={fault.name}:"
                f" it has to outlast the time of the watchdog, which is {fault.reserved:g} s. It needs {fault.needs} s"
            )
        seconds = max(seconds, fault.needs)
    return seconds


def _bounded(flag: str, value: str, least: int, most: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise Refused(f"{flag}={value}: must be a whole number from {least} to {most}")
    return number


def _consent(stack: Stack, faults: list[Fault], console: Console, *, yes: bool) -> None:
    if stack.in_lab:
        return
    console.line(f"{stack.stack} is not a lab. On its real hosts, the drill will:", "bold")
    for fault in faults:
        names = ", ".join(fault.hosts(stack))
        console.line(f"  {fault.says(f'{fault.selection} (one of {names})')}, while it writes its own rows")
    if console.ask(f"type the stack's name ({stack.stack}) to continue: ") != stack.stack:
        hint = "; --yes is not enough for this" if yes else ""
        raise Refused(f"the stack's name was not typed at a terminal{hint}. Nothing was done")


def _one(stack: Stack, fault: Fault, rate: int, seconds: int, limits: Limits, console: Console) -> dict[str, Any]:
    from plainstack.deploy.failover import Cluster
    from plainstack.deploy.observe import Observer
    from plainstack.deploy.step_runner import Event as Heard
    from plainstack.drill import preflight, store
    from plainstack.drill.reaction import Reaction
    from plainstack.drill.result import Settings
    from plainstack.drill.scenario import Scenario

    synchronous = stack.given(Database) is not None and stack.settings(Database).synchronous
    begin = datetime.now(UTC)
    settings = Settings(
        drill=begin.strftime("%Y%m%dT%H%M%S"),
        stack=stack.stack,
        started=begin.strftime("%Y-%m-%d %H:%M:%S"),
        target=fault.target,
        fault=fault.name,
        rate=rate,
        seconds=seconds,
        synchronous=synchronous,
        budgets=limits.over(budgets(fault, synchronous=synchronous)),
    )
    console.line(f"drill of {stack.stack}: {fault.target} {fault.name}", "bold")
    command = f"fab failover drill --target={fault.target} --fault={fault.name}"
    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer, preflight.alone(observer, command):
        console.line("pre-flight: topology, status, checks")
        observer.render()
        seen = preflight.look(observer, observer.sessions)
        preflight.refuse_unless_ready(seen, stack)
        bad = preflight.checks(observer, observer.sessions, (*preflight.QUICK, fault.target), console.line)
        if bad:
            raise Refused("no drill: checks fail even without a fault: " + "; ".join(bad))
        victim = preflight.victim(stack, fault, seen)
        refuse_where_clients_would_die(stack, fault, victim)
        refuse_two_at_once(fault, victim, seen.primary)
        scenario: Scenario | None = None

        def heard(event: Heard) -> None:
            if scenario is not None:
                scenario.heard(event)

        with Cluster(Network(stack, roles_of(stack)), command=command, report=heard, in_drill=True) as cluster:
            scenario = Scenario(
                observer, replace(settings, victim=victim), fault, Reaction(stack, cluster), console.line
            )
            result, attempts = scenario.run(seen.primary)
    report = store.save(stack, result, attempts)
    for rule in result.verdict.rules:
        mark, style = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("?   ", "bold yellow")}[rule.held]
        console.line(f"{mark} {rule.name}: {rule.seen} (wanted: {rule.wanted})", style)
    console.line(f"{result.verdict.sentence}\n{report}", "bold green" if result.verdict.passed else "bold red")
    return {**result.as_data(), "report": str(report)}


def _past(inventory: str, *, json: bool) -> None:
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.drill import store

        stack = load(inventory)
        found = store.past(stack)
        if json:
            document(found)
        elif not found:
            console.line(f"no drill of {stack.stack} yet. To run one: fab failover drill")
        else:
            console.table(("when (UTC)", "target", "fault", "host", "report", "verdict"), [_line(one) for one in found])


def _line(one: Mapping[str, Any]) -> tuple[str, ...]:
    known = [str(one.get(key) or "-") for key in ("started", "target", "fault", "victim")]
    sentence = str(one["sentence"])
    return (*known, os.path.relpath(one["report"]), sentence if len(sentence) <= 90 else f"{sentence[:87]}...")
