"""Errands: scripts that roles run on hosts before a deploy starts, and the queries that decide which to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plainstack.engine.network import Network
from plainstack.engine.paths import STATE
from plainstack.engine.role import Errand, hosts_of
from plainstack.errors import HostFailed
from plainstack.ssh.connections import fan_out

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View


def wanted(observer: Observer, view: View) -> list[Errand]:
    """Return the errands of the roles in this deploy; most deploys have none."""
    return [errand for name in observer.roles for errand in _of(observer, view, name)]


def _of(observer: Observer, view: View, name: str) -> Sequence[Errand]:
    role = observer.roles[name]
    if role.prepares is None or (observer.scope is not None and name not in observer.scope):
        return ()
    names = [host.name for host in hosts_of(observer.stack, role)]
    pending = [host for host in names if host in view.pending]
    facts = {**dict.fromkeys(view.failed), **{host: seen.facts for host, seen in view.observed.items()}}
    seen = {host: facts[host] for host in names if host in facts}
    preparing = role.prepares(Network(observer.stack, observer.roles), pending, seen)
    try:
        questions = next(preparing)
        while True:
            questions = preparing.send(observer.ask(questions))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # StopIteration.value is untyped


def do(observer: Observer, errands: Sequence[Errand], who: str, commit: str, command: str) -> dict[str, str]:
    """Run the errands, in order on each host; return the new generation of each host. Raises HostFailed."""

    def one(host: str) -> str:
        session = observer.sessions.to(host)
        for errand in errands:
            if errand.host == host:
                text = errand.script(who, commit, command)
                ended = session.script(text, timeout=errand.seconds, step=errand.says)
                if ended.code != 0:
                    raise HostFailed(host, errand.says, "failed", ended.err.splitlines()[-5:], ended.code)
        return session.run(f"cat {STATE}/generation", step="observe").out.strip()

    done = fan_out(sorted({errand.host for errand in errands}), one)
    for result in done.values():
        if isinstance(result, HostFailed):
            raise result
    return {host: result for host, result in done.items() if isinstance(result, str)}
