"""What Barman 3.13.3 wrote on Debian 13 hosts, shortened; and catalogues for tests of what follows from them."""

from __future__ import annotations

from datetime import UTC, datetime

from plainstack.postgresql.backup.catalogue import DONE, Backup, Run

INFO = """\
backup_label='START WAL LOCATION: 0/3000028\\nCHECKPOINT LOCATION: 0/3000080\\n'
begin_time=2026-11-22 01:07:27.664444+00:00
begin_wal=000000010000000000000003
begin_xlog=0/3000028
children_backup_ids=None
cluster_size=32487528
copy_stats={'copy_time': 0.656179, 'total_time': 0.656179}
deduplicated_size=32160780
end_time=2026-11-22 01:07:28.337458+00:00
end_wal=000000010000000000000004
end_xlog=0/4000000
error=None
mode=postgres
parent_backup_id=None
size=32160780
status=DONE
tablespaces=None
timeline=1
xlog_segment_size=16777216
"""


def at(seconds: int) -> datetime:
    """Return a time after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def name(timeline: int, number: int) -> str:
    """Return the name of a WAL segment."""
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def backup(
    end: int, segment: int, timeline: int = 1, *, status: str = DONE, retention: str = "", size: int | None = None
) -> Backup:
    """Return a backup that ends at a time, and begins in a segment and ends in the next."""
    return Backup(
        id=f"{end}",
        begin=at(end - 5),
        end=at(end),
        timeline=timeline,
        begin_wal=name(timeline, segment),
        end_wal=name(timeline, segment + 1),
        status=status,
        retention=retention,
        size=size,
    )


def run(timeline: int, first: int, last: int) -> Run:
    """Return a run of segments, of which number N was received at N * 10 seconds."""
    return Run(name(timeline, first), name(timeline, last), at(first * 10), at(last * 10))
