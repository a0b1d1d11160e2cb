"""The conditions before and after a drill: the stack is healthy, and no other command changes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from plainstack.dataclass import dataclass
from plainstack.deploy import lock
from plainstack.deploy.check_result import CheckResult
from plainstack.deploy.observe import Observer, View
from plainstack.deploy.operator import who
from plainstack.deploy.status import rows
from plainstack.deploy.verify import Verifier
from plainstack.deploy.verify import run as run_checks
from plainstack.drill.faults import CACHE, Fault
from plainstack.engine.observed import Observed
from plainstack.engine.probe import parse
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.topology import members, primaries
from plainstack.services import virtual
from plainstack.ssh.connections import Sessions, fan_out
from plainstack.wording import counted

QUICK = ("db", "app", "balancer")


@dataclass(frozen=True)
class Seen:
    """The observed stack: its problems, its primaries, and the holder of the virtual address."""

    problems: Sequence[str]
    primary: str = ""
    holder: str = ""
    cache: str = ""


def look(observer: Observer, sessions: Sessions) -> Seen:
    """Observe every host; the problems are those that inv status reports."""
    view = View(observer.stack)

    def probe(name: str) -> Observed:
        return parse(sessions.to(name).script(observer.probes[name], step="probe").out)

    for name, answer in fan_out(observer.hosts, probe).items():
        if isinstance(answer, HostFailed):
            view.failed[name] = answer
        else:
            view.observed[name] = answer
    found = rows(observer.stack, observer.roles, view, time.time())
    problems = [f"{row.host}: {problem}" for row in found for problem in row.problems]
    return Seen(problems, _primary(observer.stack, view), _holder(observer.stack, view), _cache(view))


def victim(stack: Stack, fault: Fault, seen: Seen) -> str:
    """Return the host that a fault hits."""
    chosen = {"db": seen.primary, "balancer": seen.holder, CACHE: seen.cache}.get(fault.target)
    return chosen or fault.hosts(stack)[0]


def _primary(stack: Stack, view: View) -> str:
    names = [host.name for host in stack.with_role("db")]
    facts = {name: view.observed[name].facts if name in view.observed else None for name in names}
    leading = primaries(members(names, facts))
    return leading[0].name if len(leading) == 1 else ""


def _holder(stack: Stack, view: View) -> str:
    """Return the balancer that holds the address to which the drill sends its requests; empty if it is unclear."""
    address = virtual.entrance(stack)
    if address is None:
        return ""
    answers = {name: seen.facts for name, seen in view.observed.items() if "balancer" in stack.hosts[name].roles}
    holders = virtual.holders(answers, address)
    return holders[0] if len(holders) == 1 else ""


def _cache(view: View) -> str:
    leading = [name for name, seen in view.observed.items() if seen.facts.get("cache.role") == "master"]
    return leading[0] if len(leading) == 1 else ""


def until_whole(observer: Observer, sessions: Sessions, seconds: float, report: Callable[[str], None]) -> Seen:
    """Observe repeatedly until there are no problems or the time is over; return the last observation."""
    give_up = time.monotonic() + seconds
    reported = ""
    while True:
        seen = look(observer, sessions)
        if not seen.problems or time.monotonic() > give_up:
            return seen
        if seen.problems[0] != reported:
            reported = seen.problems[0]
            report(f"waiting: {reported}")
        time.sleep(0.5)


def checks(observer: Observer, sessions: Sessions, chosen: Sequence[str], report: Callable[[str], None]) -> list[str]:
    """Run the checks of the `chosen` roles, or of all roles if it is empty; return a message for each failed check."""

    def show(result: CheckResult) -> None:
        if not result.passed:
            report(f"{result.host}: {result.role}: {result.promise}: {(result.why.splitlines() or [''])[0][:200]}")

    chosen = [role for role in chosen if role in observer.roles]
    verifier = Verifier(
        observer.stack, observer.vault, sessions, observer.roles, chosen, list(observer.hosts), on_result=show
    )
    run_checks(verifier)
    bad = [result for result in verifier.results if not result.passed]
    report(f"{len(verifier.results) - len(bad)} of {counted(len(verifier.results), 'check')} hold")
    return [f"{result.host}: {result.promise}" for result in bad]


@contextmanager
def alone(observer: Observer, what: str) -> Iterator[None]:
    """Lock all hosts against other runs while this process lives. Raises Refused if another run is active."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    holder = lock.holder(who(), when, what)
    try:
        releases = lock.hold(observer.hosts, observer.sessions.to, holder, lock.WHOLE_DRILL)
    except Refused as refused:
        raise Refused(f"no drill during another run. Wait until it has ended, then try again\n{refused}") from None
    try:
        yield
    finally:
        for release in releases:
            release()


def refuse_unless_ready(seen: Seen, stack: Stack) -> None:
    """Raise Refused, with all reasons, if the stack is not ready for a drill."""
    problems = list(seen.problems)
    if stack.with_role("db") and not seen.primary and not problems:
        problems.append("there is not exactly one primary")
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems)
        raise Refused(f"no drill: the stack is not healthy, so a verdict would mean nothing. First repair it:\n{shown}")
