"""The settings of the database and its backups: the keys `database` and `backup`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plainstack.inventory.sections import Model
from plainstack.inventory.values import Bool, Int, Line, Memory, Retention, SqlName


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


class Backup(Model):
    """Barman on the backup host."""

    retention: Retention = Field(
        "RECOVERY WINDOW OF 7 DAYS",
        description="How long backups are kept, in Barman's syntax: `RECOVERY WINDOW OF n DAYS` or `REDUNDANCY n`.",
    )
    schedule: Line = Field(
        "*-*-* 02:00", description="When a base backup is taken, as a systemd calendar expression, in UTC."
    )
    max_age_hours: Annotated[Int, Field(ge=1, le=9999)] = Field(
        26, description="An alert fires when the last backup is older than this, in hours."
    )
