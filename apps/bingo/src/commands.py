"""The commands: fill the database, or serve requests."""

from __future__ import annotations

from collections.abc import Sequence

from config import ConfigError, read
from say import complain

USAGE = """\
usage: bingo prepare_db CONFIG
       bingo run_server CONFIG ADDRESS:PORT"""


def main(words: Sequence[str]) -> int:
    """Run a command, and return its exit code: 0, 1 if it failed, 2 if it was not understood."""
    try:
        match words:
            case ["prepare_db", path]:
                import prepare

                return prepare.run(read(path))
            case ["run_server", path, place]:
                import serve

                address, _, port = place.rpartition(":")
                if not address or not port.isdigit():
                    complain(f"{place!r} is not ADDRESS:PORT")
                    return 2
                return serve.run(read(path), address, int(port))
    except ConfigError as error:
        complain(str(error))
        return 1
    complain(USAGE)
    return 2
