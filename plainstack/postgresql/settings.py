"""The settings of the database and its backups: the keys `database` and `backup`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plainstack.inventory.sections import Model
from plainstack.inventory.values import Bool, Int, Line, Memory, Retention, SlotLimit, SqlName
from plainstack.postgresql.second_copy_settings import SecondCopy

NEVER = "never"


class Database(Model):
    """The PostgreSQL cluster of the db hosts. Plainstack observes which of them is the primary."""

    name: SqlName = Field(description="The database that the services use.")
    version: Literal[17] = Field(17, description="PostgreSQL's major version.")
    synchronous: Bool = Field(True, description="Whether a commit waits until a replica has it.")
    max_connections: Annotated[Int, Field(ge=20, le=2000)] = Field(
        100, description="PostgreSQL's max_connections; a change restarts the db hosts one by one."
    )
    shared_buffers: Memory = Field(
        "128MB", description="PostgreSQL's shared_buffers; a change restarts the db hosts one by one."
    )
    max_slot_wal_keep_size: SlotLimit = Field(
        "4GB",
        description=(
            "How much WAL the primary keeps for a replica or backup host that is away, so that its disk does not fill."
            " A replica that was away for longer must be copied again, and a backup host needs `inv backup-now`."
        ),
    )


class Backup(Model):
    """Barman on the backup host."""

    replaced: ClassVar[Mapping[str, str]] = {
        "schedule": "full (when full backups are taken) and incremental (when those between them are)"
    }

    retention: Retention = Field(
        "RECOVERY WINDOW OF 7 DAYS",
        description="How long backups are kept, in Barman's syntax: `RECOVERY WINDOW OF n DAYS` or `REDUNDANCY n`.",
    )
    full: Line = Field(
        "Sun *-*-* 02:00", description="When a full backup is taken, as a systemd calendar expression, in UTC."
    )
    incremental: Line = Field(
        "Mon..Sat *-*-* 02:00",
        description=(
            "When an incremental backup is taken, which holds only what changed since the last backup of either kind;"
            f" in the same form, or `{NEVER}`."
        ),
    )
    restore_test: Line = Field(
        "Sun *-*-* 06:00",
        description=(
            "When the newest backup is restored on the backup host, checked, and deleted again; in the same form, or"
            f" `{NEVER}`."
        ),
    )
    max_age_hours: Annotated[Int, Field(ge=1, le=9999)] | None = Field(
        None,
        description=(
            "An alert fires when the last backup is older than this, in hours. Without it, two hours more than the"
            " longest interval between two scheduled backups."
        ),
    )
    second_copy: SecondCopy | None = Field(
        None,
        description="A second copy of the backups, elsewhere. Without it, they are only on the backup host.",
    )
