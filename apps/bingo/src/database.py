"""Connections to the database, shared by the threads of the server."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

Row = tuple[Any, ...]


def connect(parameters: Mapping[str, str]) -> psycopg.Connection[Row]:
    """Open a connection, in which each statement is a transaction of its own. Raises psycopg.Error."""
    where = make_conninfo(**{"connect_timeout": "3", "application_name": "bingo", **parameters})
    return psycopg.connect(where, autocommit=True)


class Pool:
    """At most `size` connections, opened when they are needed."""

    def __init__(self, parameters: Mapping[str, str], size: int) -> None:
        self._parameters = parameters
        self._free: queue.LifoQueue[psycopg.Connection[Row] | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)

    def row(self, query: str, *values: object) -> Row | None:
        """Return the first row of a query that only reads. Raises psycopg.Error.

        An idle connection that has broken is replaced.
        """
        connection = self._free.get()
        try:
            if connection is not None:
                try:
                    return connection.execute(query, values).fetchone()
                except psycopg.OperationalError:
                    connection.close()
                    connection = None
            connection = connect(self._parameters)
            return connection.execute(query, values).fetchone()
        finally:
            self._free.put(None if connection is None or connection.closed else connection)
