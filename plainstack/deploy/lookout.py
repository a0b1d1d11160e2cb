"""Observe the topology of a database cluster: the state of all db hosts, and which hosts fence them off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from plainstack.deploy.step_runner import StepRunner
from plainstack.engine.network import Network
from plainstack.postgresql import hosts, observation
from plainstack.postgresql.backup.barman import RECEIVER
from plainstack.postgresql.backup.status import missing, missing_facts
from plainstack.postgresql.failover import steps
from plainstack.postgresql.observation import Topology
from plainstack.postgresql.settings import Database


class Lookout:
    """Asks the hosts of a stack through a StepRunner, and remembers what cannot have changed since it asked."""

    def __init__(self, network: Network, runner: StepRunner) -> None:
        self.databases = hosts.databases(network.stack)
        self.clients = hosts.clients(network)
        self._stack = network.stack
        self._runner = runner
        self._site = hosts.entrances(network.stack)[:1] if steps.asks_site(network.stack) else []
        self._fences: dict[str, frozenset[str] | None] = {}
        self._answering: dict[str, frozenset[str]] = {name: frozenset() for name in self.databases}
        self._seen = False
        self._wal_missing = ""

    def observe(self) -> Topology:
        """Return the topology, from the answers of all hosts, including those that did not answer before."""
        self._runner.away.clear()
        self._fences.clear()
        self._seen = False
        return self.look()

    def forget_fences(self, names: Iterable[str]) -> None:
        """Ask these hosts again which db hosts they fence off."""
        for name in names:
            self._fences.pop(name, None)

    def look(self) -> Topology:
        """Return the topology as it is after a step; hosts that did not answer before are not asked again."""
        # Testing whether the db hosts reach each other takes a second if they do not. Only the first decision needs it.
        peers = [] if self._seen else self.databases
        self._seen = True
        facts = self._runner.ask(
            {name: observation.script([peer for peer in peers if peer != name]) for name in self.databases}
        )
        nodes = {name: observation.observed(name, facts[name]) for name in self.databases}
        if peers:
            self._answering = {name: node.answering for name, node in nodes.items()}
        unknown = [name for name in self.clients if name not in self._fences]
        barman = hosts.barman_hosts(self._stack)
        scripts = dict.fromkeys(unknown, observation.fences_script())
        scripts |= {name: scripts[name] + missing_facts(self._stack) for name in unknown if name in barman}
        answers = self._runner.ask(scripts)
        for name in unknown:
            answer = answers[name]
            if name in barman:
                self._wal_missing = missing(answer or {})
            self._fences[name] = None if answer is None else observation.named(answer, "fence.")
        database = self._stack.given(Database)
        return Topology(
            nodes={name: replace(node, answering=self._answering[name]) for name, node in nodes.items()},
            clients=dict(self._fences),
            synchronous=database is not None and database.synchronous and len(self.databases) > 1,
            barman=RECEIVER if barman else "",
            backup_hosts=tuple(name for name in barman if name not in self._runner.away),
            site_from=tuple(self._site),
            wal_missing=self._wal_missing,
        )
