"""Compares a restored cluster, read-only at the moment of a backup's record, with that record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import contents
import postmaster
from contents import Unreadable
from place import Cluster

LIMIT = 3600.0
# Transactions that ran when the snapshot was taken may have committed just before the record's position in the WAL: the
# restored cluster has them, and the record does not.
_RACED = """\
select count(*) from (select pg_snapshot_xip('{0}')::text::bigint as id
 union select generate_series(pg_snapshot_xmax('{0}')::text::bigint,
 pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)) as ids
 where pg_xact_status(id::text::xid8) = 'committed'"""


@dataclass(frozen=True)
class Comparison:
    """Problems and notes as sentences; how many tables were compared, and with how many rows."""

    problems: list[str]
    notes: list[str]
    tables: int = 0
    rows: int = 0


def compare(cluster: Cluster, record: Mapping[str, Any]) -> Comparison:
    """Compare the marker and the tables. Raises Failed if the cluster cannot be asked."""
    problems = list(_marker(cluster, record))
    tables: dict[str, dict[str, Any]] = record.get("tables", {})
    raced = int(postmaster.query(cluster, _RACED.format(record["snapshot"])))
    found = _read(cluster, record["database"], tables)
    notes = []
    sampled = [name for name, known in tables.items() if known["percent"] < 100]
    if sampled:
        notes.append(f"of large tables, only a sample of the blocks was compared: {', '.join(sampled)}")
    if record.get("unread"):
        notes.append(
            f"not compared, because they were not read when the backup was taken: {', '.join(record['unread'])}"
        )
    for name, known in tables.items():
        now = found.get(name)
        if now is None:
            problems.append(f"table {name} of database {record['database']} cannot be read in the restored cluster")
        elif (now["rows"], now["hash"]) == (known["rows"], known["hash"]):
            continue
        elif raced:
            notes.append(
                f"table {name} could not be compared, because transactions ({raced}) committed while the record was"
                f" made (number of rows: {known['rows']} recorded, {now['rows']} restored)"
            )
        else:
            problems.append(_difference(name, known, now))
    return Comparison(problems, notes, len(found), sum(one["rows"] for one in found.values()))


def _difference(name: str, known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if known["rows"] != now["rows"]:
        counts = f"{now['rows']}, not {known['rows']}"
        return f"table {name} has a different number of rows in the restored cluster: {counts}"
    return f"the rows of table {name} differ from what was recorded, though their number, {now['rows']}, is the same"


def _read(cluster: Cluster, database: str, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    if not tables:
        return {}
    where = f"host={cluster.socket} port={cluster.place.port} user=postgres dbname={database}"
    script = contents.compare_script((name, known["percent"]) for name, known in tables.items())
    try:
        return {
            one["table"]: one for one in contents.run([str(cluster.place.bin / "psql"), "-d", where], script, LIMIT)
        }
    except Unreadable:
        return {}


def _marker(cluster: Cluster, record: Mapping[str, Any]) -> Iterator[str]:
    if not record.get("marker"):
        return
    query = f"select count(*) from plainstack.backup_marker where id = '{record['marker']}'"  # noqa: S608 - our own UUID
    if postmaster.query(cluster, query) != "1":
        yield "the marker row that was written before the backup is missing from the restored cluster"
