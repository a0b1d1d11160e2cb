"""A restore test whose cluster is lent to another host: that host copies it, and checks the copy."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from typing import Any

import contents
import postmaster
import record
from contents import Unreadable
from disk import size_of
from life import remove
from place import Cluster, Failed, Place, read_json
from service import State, wanted_of
from trial import Trial

NAME = "restore-test-lent"
# For how many seconds the cluster waits for the host that copies it, which may have failed.
PATIENCE = 180.0
# The host connects twice for a copy, not at exactly the same moment.
_GONE = 5.0
_READERS = "select count(*) from pg_stat_replication"


def run(place: Place) -> int:
    """Carry out the part of the test on the backup host; return the exit code. Nothing stays of the cluster."""
    cluster = place.cluster(NAME)
    request = read_json(cluster.request)
    if not request:
        sys.stderr.write(f"{cluster.request} does not say what to restore\n")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        state = State(cluster.state, request)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {cluster.folder}\n")
        return 1

    def lend(cluster: Cluster, result: dict[str, Any]) -> None:
        state.done(result | {"contents": _contents(cluster), "size_bytes": size_of(cluster.data)})
        await_readers(cluster)

    try:
        result = Trial(place, wanted_of(request["wanted"])[0], state.say, NAME, lend).run()
    except Failed as error:
        remove(cluster)
        state.failed(error)
        sys.stderr.write(f"{error}\n{error.details}\n")
        return 1
    if result["lent"]:
        shutil.rmtree(cluster.folder, ignore_errors=True)
    else:
        state.done(result)
    return 0


def _contents(cluster: Cluster) -> dict[str, Any]:
    """Return what the tables contain, with which the other host compares its copy."""
    database = cluster.place.database
    where = f"host={cluster.socket} port={cluster.place.port} user=postgres dbname={database}"
    try:
        printed = contents.run([str(cluster.place.bin / "psql"), "-d", where], contents.record_script(), record.LIMIT)
    except Unreadable as error:
        return {"problem": str(error)}
    return {"database": database, **record.parse(printed)}


def await_readers(cluster: Cluster) -> None:
    """Wait until a host has copied the cluster and is gone, or none has come for a while."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            readers = int(postmaster.query(cluster, _READERS))
        except Failed:
            return
        if readers:
            until = time.monotonic() + _GONE
        time.sleep(0.5)
