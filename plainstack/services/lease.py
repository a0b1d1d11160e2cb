"""The holders of leases, which the program files/app/usr/local/lib/plainstack/one writes to the service's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The age of a lease is the difference of two times of the database's own clock. It is only displayed.
HOLDERS = """\
select name, holder, to_char(since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'),
 extract(epoch from clock_timestamp() - renewed)::integer
from plainstack.lease order by name"""


@dataclass(frozen=True)
class Holder:
    """The host that has a lease (empty: none), since when, and how many seconds ago it was renewed."""

    host: str
    since: str
    renewed: int


def holders(answer: str) -> Mapping[str, Holder]:
    """Return the holder of each lease, from what `psql -At` prints for HOLDERS."""
    rows = (line.split("|") for line in answer.splitlines())
    return {name: Holder(host, since, int(renewed)) for name, host, since, renewed in rows}
