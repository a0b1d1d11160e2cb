"""The database cluster of a deployed stack, as the tests of failovers use it."""

from __future__ import annotations

import json
from typing import Any

from plainstack.postgresql.layout import AS_POSTGRES, BIN
from tests.lab.conftest import Operator
from tests.lab.whole import await_whole
from tests.waiting import until

HOSTS = ("db1", "db2")


def primary(operator: Operator, first: str = "") -> str:
    """Return the host whose server accepts writes, as the servers say; `first` is asked first.

    `fab failover status` would ask all hosts for all that a failover depends on.
    """
    ask = f"cd / && {AS_POSTGRES} {BIN}/psql -XAtqc 'select pg_is_in_recovery()'"
    return next(
        host
        for host in sorted(HOSTS, key=lambda host: host != first)
        if operator.on(host, ask, check=False).strip() == "f"
    )


class Database:
    """The stack's database cluster, as the tests use it."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def status(self) -> Any:
        return json.loads(self.operator.fab("status", "--json", code=None).out)

    def hosts(self) -> tuple[str, str]:
        """Return the primary and its standby."""
        leader = primary(self.operator)
        (follower,) = {*HOSTS} - {leader}
        return leader, follower

    def sql(self, host: str, text: str, check: bool = True, seconds: int = 30) -> str:
        command = f"cd / && timeout {seconds} {AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtqd shop"
        return self.operator.on(host, f"{command} <<'END'\n{text}\nEND\n", check=check).strip()

    def write(self, host: str, row: str) -> None:
        self.sql(host, f"insert into failover_test values ('{row}')")

    def rows(self, host: str) -> set[str]:
        return set(self.sql(host, "select * from failover_test").split())

    def await_sql(self, host: str, text: str, wanted: str) -> None:
        """Wait until a query gives the wanted result."""
        until(lambda: self.sql(host, text) == wanted, text)

    def await_alert(self, name: str, host: str) -> None:
        """Wait until an alert is pending or firing for a host; tests/rules show after which time it fires."""
        ask = "curl -sS --data-urlencode 'query=ALERTS' http://127.0.0.1:9090/api/v1/query"

        def fires() -> bool:
            found = json.loads(self.operator.on("mon1", ask))["data"]["result"]
            return any(one["metric"]["alertname"] == name and host in one["metric"]["instance"] for one in found)

        until(fires, f"{name} on {host}")

    def await_finding(self, text: str) -> None:
        """Wait until the status has a finding with this text."""
        until(lambda: any(text in found for found in self.status()["findings"]), text)

    def await_replica(self, leader: str) -> None:
        """Wait until every replica streams again, as the status and the primary say."""
        senders = "select state from pg_stat_replication where application_name ~ '^db'"
        until(lambda: self.sql(leader, senders) == "streaming" and self.status()["healthy"], f"replica of {leader}")

    def await_barman(self, leader: str) -> None:
        """Wait until Barman receives WAL from a primary, through its slot."""
        receives = "from pg_replication_slots join pg_stat_replication on pid = active_pid where slot_name = 'barman'"
        self.await_sql(leader, f"select state {receives}", "streaming")

    def await_whole(self, leader: str) -> None:
        """Wait until `leader` is the only primary, all replicas stream, and nothing is left to repair or to deploy."""
        await_whole(self.operator, leader)
