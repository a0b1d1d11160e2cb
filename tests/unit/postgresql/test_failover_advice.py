"""Every command that a finding or a refusal advises works in the state in which it is advised, and helps."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from functools import partial

import pytest

from plainstack.errors import AlreadySo, Refused
from plainstack.postgresql.failover.decisions import Plan, degrade, promote, rejoin, resync, switchover
from plainstack.postgresql.findings import findings
from plainstack.postgresql.observation import Topology
from plainstack.postgresql.preflight import refusals_of
from tests.unit.postgresql.failover_model import THREE, TWO, Model

COMMAND = re.compile(r"(?:(?:when|make) (\w+) answer(?:s, |, then ))?fab failover ([a-z]+)((?: --[a-z]+(?:=\w+)?)*)")
# Advice without a command: to bring back a host that is away, or to restore data that no host has.
ELSEWHERE = re.compile(r"answer|[Bb]ring it back|reachable|restore from the backup|type this again")
# Never advised: commands that bypass Plainstack.
BEHIND = re.compile(r"systemctl|pg_ctl|by hand|\brm\b|\bmv\b|move .* away")


def again(model: Model) -> Model:
    """Return a copy; pickle needs a third of deepcopy's time."""
    copy: Model = pickle.loads(pickle.dumps(model, pickle.HIGHEST_PROTOCOL))
    return copy


def decide(action: str, words: str, now: Topology) -> Plan:
    options = dict(re.findall(r"--([a-z]+)=?(\w*)", words))
    if action == "switchover":
        return switchover(now, options.get("to", ""))
    if action == "promote":
        return promote(now, options.get("to", ""))
    if action == "rejoin":
        return rejoin(now, options.get("host", ""), discard="discard" in options)
    return {"degrade": degrade, "resync": resync}[action](now)


def accidents(names: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    for name in names:
        for accident in ("kill", "stop", "cut", "mend", "boot", "wipe"):
            yield accident, name, 0
    for action in ("promote", "switchover", "rejoin", "degrade"):
        for steps in (1, 2, 3, 4, 99):
            yield action, "", steps


def befall(model: Model, accident: str, name: str, steps: int) -> bool:
    """Apply an accident; return False if it cannot happen in this state."""
    if steps:
        try:
            model.run(partial(decide, accident, ""), steps)
        except Refused:
            return False
        return True
    server = model[name]
    if accident == "stop":
        if not (server.running and server.plugged):
            return False
        clean = server.leads
        model.kill(name)
        server.clean = clean
    elif accident == "wipe":
        if not (server.data and server.plugged):
            return False
        model.kill(name)
        server.data = server.signal = server.fenced = server.degraded = False
        server.rewinding, server.wal, server.timeline = "", [], 0
    elif accident == "boot":
        if server.running or not server.data or server.rewinding:
            return False
        model.boot(name)
    elif (accident == "mend") == server.plugged or (accident == "kill" and not server.running):
        return False
    else:
        getattr(model, accident)(name)
    model.live()
    return True


def state_of(model: Model) -> object:
    now = model.topology()
    return (
        [(n.state, n.timeline, n.upstream, n.fenced, n.degraded, n.cluster, n.rewinding) for n in now.nodes.values()],
        sorted((host, sorted(fences)) for host, fences in model.closed.items()),
    )


def reached(names: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Model]]:
    """Yield every state that up to `depth` accidents lead to, each once, with the accidents that led there."""
    first = Model(names)
    known = {repr(state_of(first))}
    level: list[tuple[tuple[str, ...], Model]] = [((), first)]
    yield level[0]
    for _ in range(depth):
        following = []
        for story, model in level:
            for accident, name, steps in accidents(names):
                after = again(model)
                try:
                    if not befall(after, accident, name, steps):
                        continue
                except AssertionError:
                    # Skip states in which clients reach two primaries: only commands that bypass Plainstack lead there.
                    continue
                if (state := repr(state_of(after))) not in known:
                    known.add(state)
                    following.append(((*story, f"{accident} {name or steps}"), after))
        yield from following
        level = following


def sentences(now: Topology) -> list[str]:
    """Return all findings and refusals in a state, for every command."""
    said = [*findings(now), *refusals_of(list(now.nodes.values()))]
    for action in ("switchover", "promote", "rejoin", "degrade", "resync"):
        for words in ("", *(f" --{'host' if action == 'rejoin' else 'to'}={name}" for name in now.nodes)):
            if action in ("degrade", "resync") and words:
                continue
            try:
                next(decide(action, words, now), None)
            except Refused as refusal:
                said.append(str(refusal))
    return list(dict.fromkeys(said))


def writable(model: Model) -> bool:
    before = len(model.acknowledged)
    model.live()
    return len(model.acknowledged) > before


def gone(model: Model) -> set[int]:
    """Return the acknowledged writes that no server has."""
    return set(model.acknowledged) - {number for one in model.servers.values() for _, number in one.wal}


def follow(model: Model, sentence: str, hops: int = 3) -> None:
    """Run every command of a message, each in that state. Raises AssertionError for a command that does not help."""
    assert not BEHIND.search(sentence), sentence
    commands = COMMAND.findall(sentence)
    away = any(node.state == "unreachable" for node in model.topology().nodes.values())
    for when, action, words in commands:
        if action == "status":
            continue
        trial = again(model)
        if when:
            trial.mend(when)
            trial.live()
        could_write, lost = writable(trial), gone(trial)
        try:
            assert trial.run(partial(decide, action, words)), "it does not end"
        except AlreadySo:
            continue
        except Refused as refusal:
            reported = str(refusal)
            assert hops, f"{sentence!r} leads nowhere: {reported}"
            if COMMAND.search(reported):
                follow(trial, reported, hops - 1)
            else:
                assert ELSEWHERE.search(reported), f"{sentence!r}: {action}{words} is refused: {reported}"
                assert away or not any(one.data for one in model.servers.values()), reported
            continue
        if "--to=" not in words:
            assert gone(trial) <= lost, f"{sentence!r}: {action}{words} loses writes"
        assert writable(trial) or not could_write, f"{sentence!r}: after {action}{words} nothing can be written"


@pytest.mark.parametrize(("names", "depth"), [(TWO, 4), (THREE, 3)])
def test_advice_is_always_allowed_and_never_makes_matters_worse(names: tuple[str, ...], depth: int) -> None:
    count = 0
    for story, model in reached(names, depth):
        for sentence in sentences(model.topology()):
            count += 1
            try:
                follow(model, sentence)
            except AssertionError as error:
                raise AssertionError(f"after {', '.join(story) or 'nothing'}: {error}") from error
    assert count > 500
