"""Wait until the peers of changed hosts use them again: ask those that can tell, and give the others a fixed time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING

from plainstack.errors import HostFailed

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View
    from plainstack.deploy.schedule import Node

_LOOK = 0.1


def see(observer: Observer, view: View, waits: Mapping[Node, float], cancelled: Event) -> None:
    """Return when the peers of all nodes use their hosts again, when the seconds are over, or when cancelled.

    `waits` holds the seconds for each node. They are waited for in full if a peer cannot be asked.
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
