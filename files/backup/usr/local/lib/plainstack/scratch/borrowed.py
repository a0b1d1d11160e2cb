"""The checks of a restore test on the host that has copied the lent cluster, in a unit without a network.

The program runs from an archive that also contains request.json: what the tables contained when the cluster was lent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import compared
import damage
import postmaster
from place import Cluster, Failed, NoRoom, Place, last_lines
from postmaster import Postmaster

NAME = "copy"


def main() -> int:
    """Check the copy beside the archive; print progress, and the result as one line of JSON. Return the exit code."""
    archive = Path(sys.argv[0])
    with zipfile.ZipFile(archive) as packed:
        request = json.loads(packed.read("request.json"))
    folder = archive.parent
    place = Place(
        server="",
        barman=folder,
        scratch=folder,
        requests=folder,
        bin=Path(request["bin"]),
        tls=folder,
        port=request["port"],
        database=request["contents"].get("database", "postgres"),
        records=folder,
        tests=folder,
    )
    try:
        result = Checks(place.cluster(NAME), request).run()
    except (Failed, OSError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'details', '')}\n")
        return 1
    _print(json.dumps(result))
    return 0


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the output of this program


class Checks:
    """The checks of one copy."""

    def __init__(self, cluster: Cluster, request: dict[str, Any]) -> None:
        self._cluster = cluster
        self._contents: dict[str, Any] = request["contents"]
        self._size: int = request["size_bytes"]
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._seconds = 0.0

    def run(self) -> dict[str, Any]:
        """Return the problems and notes as sentences, and how many seconds the start took.

        Raises NoRoom if the disk is too full, which says nothing about the backup.
        """
        try:
            self._check()
        except NoRoom:
            raise
        except (Failed, subprocess.TimeoutExpired) as error:
            self._problems.append(str(error))
        return {"problems": self._problems, "notes": self._notes, "seconds": self._seconds}

    def _check(self) -> None:
        _print("verifying the copied files")
        damaged = list(damage.of_copy(self._cluster))
        postmaster.configure(self._cluster, serve=False)
        began = time.monotonic()
        _print("starting the copy")
        server = self._started()
        self._seconds = time.monotonic() - began
        try:
            self._compare()
            _print("checking all tables and indexes")
            self._problems += damage.of_tables(self._cluster, self._size)
            server.stop()
            _print("checking the checksums of all pages")
            damaged += damage.of_pages(self._cluster)
            if damaged:
                # It names the tables.
                server = self._started()
                self._problems += [damage.sentence(self._cluster, one) for one in damaged]
        finally:
            server.stop()

    def _started(self) -> Postmaster:
        control = postmaster.control_data(self._cluster)
        server = Postmaster(self._cluster, postmaster.settings(self._cluster, control, serve=False))
        for _ in server.await_ready():
            pass
        if not server.log.up:
            server.stop()
            if server.log.full:
                raise NoRoom(f"the disk of {self._cluster.folder} became full", last_lines(self._cluster.log))
            why = server.log.fatal or "see its log"
            raise Failed(f"the copied cluster does not start: {why}", last_lines(self._cluster.log))
        return server

    def _compare(self) -> None:
        if why := self._contents.get("problem"):
            self._notes.append(f"the copy was not compared with what the backup host restored: {why}")
            return
        _print("comparing the tables with those on the backup host")
        if unread := self._contents.get("unread"):
            self._notes.append(f"not compared with the copy, because reading them took too long: {', '.join(unread)}")
        found = compared.compare(self._cluster, self._contents | {"unread": []})
        self._problems += found.problems
        self._notes += found.notes


if __name__ == "__main__":
    sys.exit(main())
