"""Ask the peers of a host that changes whether they use another host before the change, and this one after it.

Peers that cannot tell get a fixed time after a change, and are not asked before the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING

from plainstack.dataclass import dataclass
from plainstack.engine.sayings import NO_OTHER
from plainstack.errors import HostFailed, PlainstackError, Untouched

if TYPE_CHECKING:
    from plainstack.deploy.observe import Listener, Observer, View
    from plainstack.deploy.schedule import Node

_LOOK = 0.1
# Seconds for a peer to connect and answer.
_ANSWER = 6
_SOON = 1.5
_AGAIN = 0.5
_ADVICE = "Repeat the command when another one is in use. To accept that requests fail: --accept-outage"


def see(observer: Observer, view: View, waits: Mapping[Node, float], cancelled: Event) -> None:
    """Return when the peers of all nodes use their hosts again, when the seconds are over, or when cancelled.

    `waits` holds the seconds for each node. If a peer cannot be asked, the wait takes all of them.
    """
    pool = ThreadPoolExecutor(max_workers=64)
    until = time.monotonic() + max(waits.values())
    asked = {pool.submit(_seen, observer, view, node) for node in waits}
    try:
        while asked and time.monotonic() < until and not cancelled.is_set():
            done, asked = wait(asked, timeout=_LOOK)
            if not all(future.result() for future in done):
                cancelled.wait(max(0, until - time.monotonic()))
    finally:
        # A peer that does not answer in time is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)


def _seen(observer: Observer, view: View, node: Node) -> bool:
    """Return whether all peers say that they use the host of a node; False if one cannot be asked."""
    settle = observer.roles[node.stage].settle
    scripts = settle.asks(observer.stack, observer.stack.hosts[node.host]) if settle and settle.asks else {}
    if not scripts or any(peer in view.failed for peer in scripts):
        return False

    def uses(peer: str) -> bool:
        try:
            return observer.sessions.to(peer).script(scripts[peer], timeout=60, step="settle").code == 0
        except HostFailed:
            return False

    with ThreadPoolExecutor(max_workers=len(scripts)) as pool:
        return all(pool.map(uses, scripts))


@dataclass(frozen=True)
class Leaves:
    """A node that stops or restarts `units`; `absent` are the hosts that cannot take its host's place meanwhile."""

    node: Node
    units: Collection[str]
    absent: Collection[str]


def await_another(observer: Observer, view: View, leaves: Leaves, listener: Listener, cancelled: Event) -> None:
    """Wait until each peer that answers uses another host than those whose units go down.

    Raises Untouched when the seconds of the role's `spare` are over, or when cancelled.
    """
    host, stage = leaves.node.host, leaves.node.stage
    spare = observer.roles[stage].spare
    if spare is None:
        return
    # The stack includes the holds: a host on which a person stopped the units cannot stand in for another.
    scripts = spare.asks(observer.stack, observer.stack.hosts[host], leaves.units, leaves.absent)
    asked = {peer: script for peer, script in scripts.items() if peer not in view.failed}
    until = time.monotonic() + spare.seconds
    told = False

    def slow(peers: Sequence[str]) -> None:
        listener.step(host, stage, f"ask {', '.join(peers)} which hosts are in use (at most {_ANSWER} s)")

    while why := _without(observer, asked, slow, one_is_enough=spare.one_is_enough):
        if cancelled.is_set():
            raise Untouched(host, stage, "interrupted; nothing was changed")
        if time.monotonic() > until:
            reason = "nothing was changed, because no other host is in use that could answer its requests"
            raise Untouched(host, stage, reason, [*why, _ADVICE])
        if not told:
            listener.step(host, stage, f"{spare.why} (at most {spare.seconds} s)")
        told = True
        cancelled.wait(_AGAIN)


def _without(
    observer: Observer, scripts: Mapping[str, str], slow: Callable[[Sequence[str]], None], *, one_is_enough: bool
) -> list[str]:
    """Return the lines of the peers that use no other host; peers that do not answer are left out.

    `slow` is called with the peers that have not answered within a moment.
    """

    def ask(peer: str) -> list[str] | None:
        try:
            said = observer.sessions.to(peer).script(scripts[peer], timeout=_ANSWER, step="look for other hosts")
        except PlainstackError:
            return None
        return [f"{peer}: {line}" for line in said.out.splitlines()] if said.code == NO_OTHER else []

    pool = ThreadPoolExecutor(max_workers=64)
    try:
        answers = [pool.submit(ask, peer) for peer in scripts]
        late = wait(answers, timeout=_SOON).not_done
        if late:
            slow([peer for peer, answer in zip(scripts, answers, strict=True) if answer in late])
        done = wait(answers, timeout=_ANSWER - _SOON).done
        told = [lines for answer in answers if answer in done and (lines := answer.result()) is not None]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if one_is_enough and [] in told:
        return []
    return [line for lines in told for line in lines]
