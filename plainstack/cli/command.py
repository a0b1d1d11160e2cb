"""What all commands share: the inventory and its roles, errors, JSON output and exit codes.

Exit codes: 0 success, 1 an error or a failed host, 2 `inv plan` or `inv drift` found differences, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json as json_module
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from invoke.exceptions import Exit

from plainstack.cli.console import Console
from plainstack.cli.streams import output_lost
from plainstack.errors import PlainstackError

if TYPE_CHECKING:
    from plainstack.engine.role import Role
    from plainstack.inventory.stack import Stack

CHANGES = 2
INTERRUPTED = 130


@contextlib.contextmanager
def reporting(console: Console, *, json: bool = False, shows: bool = False) -> Iterator[None]:
    """Turn expected errors into a message and an exit code.

    Raises Exit with code 1 after a PlainstackError or OSError, and with INTERRUPTED after Ctrl-C. A command that only
    `shows` something also fails if its output could not be written.
    """
    try:
        yield
    except PlainstackError as error:
        _told_error(console, str(error), json=json)
    except OSError as error:
        # An error on this machine, such as a full disk or a read-only folder.
        where = f"{error.filename}: " if error.filename else ""
        _told_error(console, f"{where}{error.strerror or error}", json=json)
    except KeyboardInterrupt:
        console.error("interrupted; run the same command again to continue")
        raise Exit(code=INTERRUPTED) from None
    if shows and output_lost():
        raise Exit(code=1)


def _told_error(console: Console, text: str, *, json: bool) -> NoReturn:
    if json:
        document({"error": text})
    else:
        console.error(text)
    raise Exit(code=1) from None


def document(data: object) -> None:
    """Print the JSON document of a --json run on stdout."""
    json_module.dump(data, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def load(path: str, *, notify: bool = True) -> Stack:
    """Load an inventory with the roles in its folder; raises InventoryError.

    Without `notify`, no notification is sent.
    """
    from plainstack.engine import declared
    from plainstack.engine.role import shape
    from plainstack.inventory import load as inventories
    from plainstack.roles import registry

    roles = registry(Path(path).resolve().parent)
    stack = inventories.load(Path(path), shape(roles))
    declared.check(stack, roles)
    return stack if notify else stack.model_copy(update={"notify": type(stack.notify)()})


def roles_of(stack: Stack) -> Mapping[str, Role]:
    """Return all roles of a stack by name: the built-in ones and those in its folder."""
    from plainstack.roles import registry

    return registry(stack.folder)
