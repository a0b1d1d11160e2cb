"""The command `plainstack`, which creates a stack; in the stack's folder, `inv` and `fab` do the rest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from plainstack.cli.streams import guard
from plainstack.errors import PlainstackError


class _Parser(argparse.ArgumentParser):
    """A parser whose usage errors exit with 1, as those of `inv` do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; for this folder, write .")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line of `plainstack`."""
    made = _Parser(
        prog="plainstack",
        allow_abbrev=False,
        description="A highly available web stack on plain Debian hosts, over plain SSH.",
        epilog="In a stack's folder: inv --list, and fab failover --help.",
    )
    made.add_argument("--version", action="version", version=f"plainstack {version('plainstack')}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "write the folder of a new stack, which inv lab.up and inv deploy bring up"
    init = commands.add_parser("init", allow_abbrev=False, help=what, description=f"{what[0].upper()}{what[1:]}.")
    init.add_argument("folder", type=_path, metavar="DIR", help="the folder; it need not exist")
    init.add_argument("--name", default="", help="the stack's name (default: that of the folder)")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Run the command, and exit with 1 after an error."""
    guard()
    given = parser().parse_args(words)
    from plainstack.cli.init import init

    try:
        written = init(given.folder, given.name)
    except PlainstackError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or given.folder}: {error.strerror}")
    said = [f"{given.folder}:", *(f"  {path}" for path in written), "", "next:", f"  cd {given.folder}"]
    said += ["  inv lab.up     # its hosts, in a lab on this machine (needs root)", "  inv deploy", "  inv verify"]
    print("\n".join(said))  # noqa: T201 - this is a command
