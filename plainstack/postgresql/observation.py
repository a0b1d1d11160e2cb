"""The topology that failover decisions use: the state of every db host, and which hosts fence off which others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields
from functools import cached_property

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.paths import FENCES
from plainstack.postgresql.shell_paths import BIN, DATA, DEGRADED, FENCED, PASSFILE, RESTORING, REWINDING, START_GUARD
from plainstack.postgresql.topology import Member, members, position, probe

_MORE = """
union all select 'synchronous=' || current_setting('synchronous_standby_names')
union all select 'seconds=' || extract(epoch from now() - last_msg_receipt_time)
 from pg_stat_wal_receiver where status = 'streaming'
union all select concat('sender.', application_name, '=', state, '|', sync_state, '|',
 pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, write_lsn)), '|', extract(epoch from replay_lag))
 from pg_stat_replication where not pg_is_in_recovery() and state <> 'backup'
union all select concat('slot.', slot_name, '=', active, '|',
 case when invalidation_reason is null then coalesce(wal_status, '-') else 'lost' end, '|',
 pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
 restart_lsn)) from pg_replication_slots"""


@dataclass(frozen=True)
class Slot:
    """A replication slot; `retained` is how many bytes of WAL it retains.

    `wal_status` is as in pg_replication_slots, or "lost" if PostgreSQL has invalidated the slot: its reader may
    continue while WAL is left, but PostgreSQL retains none for it.
    """

    name: str
    active: bool
    retained: int
    wal_status: str


@dataclass(frozen=True)
class Sender:
    """A receiver of the primary's WAL and its lag, from the primary's pg_stat_replication."""

    name: str
    state: str
    sync_state: str
    lag_bytes: int
    lag_seconds: float


@dataclass(frozen=True, kw_only=True)
class Node(Member):
    """A db host with everything that `fab failover status` shows.

    `cluster` is a stopped server's state, from its control file. `answering` names the peers whose PostgreSQL accepts
    connections from this host. `configured` is false if no deploy has installed what a standby needs. `fenced` and
    `degraded` are the times when these states began, or empty; `restoring` is the restore that has not
    finished here. `tablespaces` says that there are some outside the data directory.
    `fences` names the hosts that this host fences off.
    """

    cluster: str = ""
    synchronous: str = ""
    degraded: str = ""
    fenced: str = ""
    rewinding: str = ""
    configured: bool = True
    heard_seconds: float = 0
    restoring: str = ""
    tablespaces: bool = False
    fences: frozenset[str] = frozenset()
    answering: frozenset[str] = frozenset()
    senders: tuple[Sender, ...] = ()
    slots: tuple[Slot, ...] = ()
    old_data: tuple[str, ...] = ()

    @property
    def reachable(self) -> bool:
        return self.state != "unreachable"

    @property
    def heard(self) -> bool:
        """Whether the host's state is known: the host answers, and its PostgreSQL answers or does not run."""
        return self.state not in ("unreachable", "silent")

    @property
    def stopped(self) -> bool:
        return self.state in ("stopped primary", "stopped standby")

    @property
    def clean(self) -> bool:
        """Whether the server was shut down cleanly: a standby that has all its WAL can take over without loss."""
        return self.stopped and self.cluster == "shut down"

    def sender(self, name: str) -> Sender | None:
        """Return the receiver of that name; None if it does not stream from this host."""
        return next((sender for sender in self.senders if sender.name == name and sender.state == "streaming"), None)


@dataclass(frozen=True)
class Topology:
    """The db hosts (`nodes`), and the fences on the other hosts that use the database (`clients`).

    `clients` maps each of these hosts to the db hosts that it fences off; None if it did not answer. `barman` is the
    application name of Barman's receiver. `site_from` are the hosts that request the site. `wal_missing` is what the
    backup host says about WAL that it could not receive.
    """

    nodes: Mapping[str, Node]
    clients: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    synchronous: bool = True
    barman: str = ""
    backup_hosts: tuple[str, ...] = ()
    site_from: tuple[str, ...] = ()
    wal_missing: str = ""

    def node(self, name: str) -> Node:
        """Return a db host by name. Raises Refused for an unknown name."""
        if name not in self.nodes:
            raise Refused(f"{name} is not a db host; the db hosts are {', '.join(self.nodes)}")
        return self.nodes[name]

    @cached_property
    def primaries(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.state == "primary"]

    @cached_property
    def standbys(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.state == "standby"]

    def fenced_everywhere(self, name: str) -> bool:
        """Return whether every other reachable db host fences this one off; False if no other is reachable."""
        others = [node for node in self.nodes.values() if node.name != name and node.reachable]
        return bool(others) and all(name in node.fences for node in others)

    def confirming(self, leader: Node) -> list[str]:
        """Return the standbys that confirm a primary's writes.

        A primary lists a dead standby until wal_sender_timeout, so the standby itself must report that it streams. If
        the operator cannot reach the standby, the primary must reach its PostgreSQL instead.
        """
        return [
            sender.name
            for sender in leader.senders
            if sender.state == "streaming"
            and (node := self.nodes.get(sender.name))
            and (node.upstream == leader.name or (not node.heard and node.name in leader.answering))
        ]

    def fencing(self, name: str) -> list[str]:
        """Return the hosts that fence a db host off."""
        db = [node.name for node in self.nodes.values() if name in node.fences]
        return db + [client for client, fences in self.clients.items() if fences and name in fences]


def newest(nodes: Iterable[Node]) -> Node:
    """Return the node with the most recent history: the highest timeline, and on it the most WAL."""
    return max(nodes, key=lambda node: (node.timeline, position(node.lsn)))


def fences_script() -> str:
    """Return shell code that prints which hosts a host fences off."""
    return f'for f in {FENCES}/*; do [ ! -f "$f" ] || echo "fence.${{f##*/}}=yes"; done\n'


def script(peers: Sequence[str]) -> str:
    """Return shell code that prints everything a db host's Node contains."""
    ask = "".join(
        # pg_isready never logs in, but needs an account that pg_hba.conf allows: otherwise the peer logs a rejection
        # every time.
        f"(! {BIN}/pg_isready -q -t 1 -d 'host={peer} user=rewinder dbname=postgres sslmode=require' ||"
        f' echo "answer.{peer}=yes") &\n'
        for peer in peers
    )
    return f"""\
export LC_ALL=C
{ask}{probe(_MORE, patience=3)}{fences_script()}\
[ -x {BIN}/pg_basebackup ] && [ -s {PASSFILE} ] && [ -x {START_GUARD} ] || echo configured=no
[ ! -e {FENCED} ] || echo "fenced=$(cat {FENCED})"
[ ! -e {REWINDING} ] || printf 'rewinding=%s\\n' "$(grep . {REWINDING} || echo it was interrupted)"
[ ! -e {RESTORING} ] || echo "restoring=$(head -n 1 {RESTORING})"
[ ! -e {DEGRADED} ] || echo "degraded=$(sed -n 's/^# since //p' {DEGRADED})"
for old in {DATA}.old-*; do [ ! -d "$old" ] || echo "old.$old=yes"; done
wait
echo end=yes
"""


def parse(text: str) -> dict[str, str]:
    """Return the facts that a host printed as lines of KEY=VALUE."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def observed(name: str, facts: Mapping[str, str] | None) -> Node:
    """Return the Node of a db host from its facts; `facts` is None for a host that could not be reached."""
    (member,) = members([name], {name: facts})
    known = {one.name: getattr(member, one.name) for one in fields(member)}
    if facts is None:
        return Node(**known)
    return Node(
        **known,
        cluster=facts.get("cluster", ""),
        synchronous=facts.get("synchronous", ""),
        degraded=facts.get("degraded", ""),
        fenced=facts.get("fenced", ""),
        rewinding=facts.get("rewinding", ""),
        restoring=facts.get("restoring", ""),
        tablespaces=facts.get("tablespaces") == "yes",
        configured=facts.get("configured") != "no",
        heard_seconds=_number(facts.get("seconds", "")),
        fences=named(facts, "fence."),
        answering=named(facts, "answer."),
        senders=tuple(
            Sender(key, state, sync, int(_number(behind)), _number(seconds))
            for key, (state, sync, behind, seconds) in _rows(facts, "sender.")
        ),
        slots=tuple(
            Slot(key, active in ("t", "true"), int(_number(retained)), status)
            for key, (active, status, retained) in _rows(facts, "slot.")
        ),
        old_data=tuple(sorted(named(facts, "old."))),
    )


def named(facts: Mapping[str, str], prefix: str) -> frozenset[str]:
    """Return the keys of facts that start with `prefix`, without the prefix."""
    return frozenset(key.removeprefix(prefix) for key in facts if key.startswith(prefix))


def _rows(facts: Mapping[str, str], prefix: str) -> Iterable[tuple[str, list[str]]]:
    return (
        (key.removeprefix(prefix), value.split("|")) for key, value in sorted(facts.items()) if key.startswith(prefix)
    )


def _number(text: str) -> float:
    return float(text) if text else 0
