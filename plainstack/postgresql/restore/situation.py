"""What a restore sees before every decision: the database hosts, the backup host, the balancers and the processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from functools import cached_property
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.postgresql.layout import CLUSTERS
from plainstack.postgresql.observation import Node, Topology

# The recovered cluster on the backup host that the db hosts copy.
SCRATCH = "restore"
# The folder on the backup host with one file per restore: what was asked for, and what is done.
RECORDS = "/var/lib/plainstack/restores"
# The roles whose checks must pass before the site opens again.
CHECKED = ("db", "backup")


@dataclass(frozen=True)
class Files:
    """A folder of a service on a host, the snapshot that it goes back to, and the snapshot's size in bytes."""

    service: str
    folder: str
    host: str
    snapshot: str
    size: int

    @property
    def key(self) -> str:
        return f"{self.service}/{self.folder}"

    @property
    def words(self) -> tuple[str, ...]:
        """The fields as the words that a step gets."""
        return (self.service, self.folder, self.host, self.snapshot, str(self.size))


@dataclass(frozen=True)
class Request:
    """A restore that was begun, as the backup host records it.

    `moment` is what was asked for, and `says` describes it; `target` are the arguments of the scratch cluster. `leader`
    is the host that becomes the primary, `before` the one that was the primary when the restore began, or empty.
    `closed` are the services that the restore closes to visitors, `files` the folders that go back too. `done` are the
    marks of what is done, `undo` says that the undoing was begun, and `finished` that nothing is left to do for the
    restore, or for its undoing.
    """

    id: str
    moment: str
    says: str
    target: tuple[str, ...]
    leader: str
    before: str = ""
    closed: tuple[str, ...] = ()
    files: tuple[Files, ...] = ()
    undo: bool = False
    done: frozenset[str] = frozenset()
    finished: bool = False

    def as_json(self) -> str:
        """Return the record that the backup host keeps."""
        return json.dumps(
            {
                "id": self.id,
                "moment": self.moment,
                "says": self.says,
                "target": self.target,
                "leader": self.leader,
                "before": self.before,
                "closed": self.closed,
                "files": [asdict(one) for one in self.files],
            }
        )

    @classmethod
    def parse(cls, text: str, marks: str) -> Request:
        """Return the request that a record and the names of its marks describe."""
        data: dict[str, Any] = json.loads(text)
        done = frozenset(marks.split())
        return cls(
            id=data["id"],
            moment=data["moment"],
            says=data["says"],
            target=tuple(data["target"]),
            leader=data["leader"],
            before=data["before"],
            closed=tuple(data["closed"]),
            files=tuple(Files(**one) for one in data.get("files", ())),
            undo="undo" in done,
            done=done,
            finished=("undone" if "undo" in done else "finished") in done,
        )


@dataclass(frozen=True)
class Kept:
    """A data directory that was put aside on a db host: `kind` is "before" a restore, or "undone" by its undoing.

    `empty` says that the host had no data. `standby`, `timeline` and `clean` are its state when it was stopped.
    """

    kind: str
    restore: str
    empty: bool = False
    standby: bool = False
    timeline: int = 0
    size: int = 0

    @property
    def path(self) -> str:
        """The directory on its host."""
        return f"{CLUSTERS}/main.{self.kind}-{self.restore}"


@dataclass(frozen=True)
class Situation:
    """The state of all hosts that a restore concerns.

    `kept` are the data directories put aside, and `room` the free bytes beside the data, by db host. `running` maps
    each host with processes to how many of the units that a restore stops still run there, and `halted` to whether a
    restore has stopped some; None if it did not answer. `files` maps each host that answered, with each of its folders
    that are backed up, to what restores have left beside it. `closed` maps each balancer to the services that it has
    closed.
    `scratch` says that the recovered cluster serves copies, `size` how many bytes it has. `request` is the newest
    restore, unless it is finished.
    """

    topology: Topology
    backup: str
    reachable: bool = True
    request: Request | None = None
    scratch: bool = False
    size: int = 0
    kept: Mapping[str, tuple[Kept, ...]] = field(default_factory=dict)
    room: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int | None] = field(default_factory=dict)
    halted: Mapping[str, bool] = field(default_factory=dict)
    files: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    closed: Mapping[str, frozenset[str] | None] = field(default_factory=dict)

    def has_kept(self, host: str, kind: str, restore: str) -> Kept | None:
        """Return the data that a host has put aside for a restore; None if it has not."""
        found = [one for one in self.kept.get(host, ()) if (one.kind, one.restore) == (kind, restore)]
        return found[0] if found else None

    @cached_property
    def reached(self) -> list[Node]:
        """The db hosts that answer."""
        return [node for node in self.topology.nodes.values() if node.reachable]

    @cached_property
    def away(self) -> list[Node]:
        """The db hosts that do not answer."""
        return [node for node in self.topology.nodes.values() if not node.reachable]

    @cached_property
    def unfinished(self) -> str:
        """The id of the unfinished restore, from the backup host or else the db hosts; empty if there is none."""
        if self.request and not self.request.finished:
            return self.request.id
        return next((node.restoring.split()[0] for node in self.reached if node.restoring), "")

    @property
    def touched(self) -> bool:
        """Whether the unfinished restore has changed anything outside the backup host."""
        begun = self.request
        return (
            any(node.restoring for node in self.reached)
            or any(self.halted.values())
            or any(self.has_kept(name, "before", self.unfinished) for name in self.kept)
            or any(here and begun and here & set(begun.closed) for here in self.closed.values())
        )

    @cached_property
    def restores(self) -> frozenset[str]:
        """The ids of the restores that have put data aside."""
        return frozenset(one.restore for found in self.kept.values() for one in found)

    @property
    def last(self) -> str:
        """The id of the newest restore whose old data a db host keeps; empty if there is none."""
        return max((one.restore for found in self.kept.values() for one in found if one.kind == "before"), default="")
