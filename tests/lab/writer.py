"""Rows that are written all the time, and SQL on whichever host is the primary."""

from __future__ import annotations

from plainstack.postgresql.backup import barman
from plainstack.postgresql.layout import AS_POSTGRES, BIN
from tests import inventories
from tests.lab.database import primary
from tests.lab.operator import Operator
from tests.waiting import until


def sql(operator: Operator, text: str) -> str:
    """Run statements on the primary, and return what they print."""
    command = f"cd / && {AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtqd shop"
    return operator.on(primary(operator), f"{command} <<'END'\n{text}\nEND\n").strip()


class Writer:
    """Writes rows all the time, from the backup host to whichever host is the primary.

    `rows` are the times of the rows whose commit was acknowledged, in seconds since the epoch, as psql prints them.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        sql(operator, "create table moments (at timestamptz default clock_timestamp()); grant all on moments to barman")
        stack = inventories.parse(
            operator.inventory.read_text(encoding="utf-8"), "hosts.yaml", operator.inventory.parent
        )
        login = barman.conninfo(stack).replace("dbname=postgres", "dbname=shop user=barman")
        insert = "insert into moments default values returning extract(epoch from at)"
        loop = f"while sleep 0.1; do timeout 20 psql -XAtqwc '{insert}' '{login}' >>/var/lib/barman/rows; done"
        operator.on("bak1", f'systemd-run --quiet --unit=writer --uid=barman sh -c "{loop}"')

    @property
    def rows(self) -> list[str]:
        return self._operator.on("bak1", "cat /var/lib/barman/rows || :").split()

    def some(self) -> int:
        """Wait until some more rows are acknowledged, and return how many there are."""
        now = len(self.rows)
        return until(lambda: len(found) if len(found := self.rows) > now + 4 else 0)

    def stop(self) -> None:
        self._operator.on("bak1", "systemctl stop writer")
