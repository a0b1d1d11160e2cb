"""Load a stack's own roles: the modules in the folder roles/ beside its inventory."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from plainstack.bytecode import uncached
from plainstack.engine.role import Role
from plainstack.errors import InventoryError, PlainstackError
from plainstack.inventory.sections import Model
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import UndeclaredSecret
from plainstack.wording import did_you_mean

FOLDER = "roles"

_RULE = "a name begins with a letter and holds only a-z, 0-9 and _, at most 31 characters"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
# The functions of a role whose errors are reported with file and line.
_ASKED = (
    "desired",
    "opens",
    "certificates",
    "contradictions",
    "facts",
    "findings",
    "problems",
    "reads",
    "secrets",
    "transition",
    "turns",
)
# Names that the engine itself uses in the place of a role's name, for example for transactions.
_RESERVED = ("all", "packages", "probe", "lock", "connect")


def roles(folder: Path) -> Iterator[Role]:
    """Yield the roles in a stack's folder, sorted by module name; skip helpers, whose names begin with an underscore.

    Raises InventoryError, with file and line, if a module raises an exception or has no ROLE.
    """
    here = folder / FOLDER
    for path in sorted(here.glob("*.py")) if here.is_dir() else ():
        if not path.name.startswith("_"):
            yield _role(path, f"{FOLDER}/{path.name}")


def _role(path: Path, shown: str) -> Role:
    # Roles can import helper modules from their own folder.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"plainstack_own_roles.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InventoryError([f"{shown}: is not a Python module"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with uncached():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f"{shown}:{error.lineno}" if error.filename == str(path) else f"{error.filename}:{error.lineno}"
        raise InventoryError([f"{where}: {error.msg}"]) from None
    except Exception as error:  # noqa: BLE001 - whatever a person's module does wrong is an error of that module
        raise InventoryError([f"{shown}:{_line(error, path)}: {type(error).__name__}: {error}"]) from None
    role = getattr(module, "ROLE", None)
    if not isinstance(role, Role):
        raise InventoryError([f"{shown}: has no ROLE. A role's module ends with ROLE = Role(name=..., ...)"])
    asked: dict[str, Any] = {
        field.name: _guarded(value, path, shown)
        for field in fields(role)
        if field.name in _ASKED and callable(value := getattr(role, field.name))
    }
    return replace(role, origin=shown, about=about(module), **asked)


def _guarded(function: Callable[..., Any], path: Path, shown: str) -> Callable[..., Any]:
    """Wrap a role's function so that its errors become InventoryErrors with the line in the role's module."""

    @functools.wraps(function)
    def guarded(*args: Any) -> Any:
        try:
            answer = function(*args)
            # Run a generator here, so that its errors are caught as well.
            return tuple(answer) if isinstance(answer, Iterator) else answer
        except (PlainstackError, UndeclaredSecret):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a person's function does wrong is an error of its module
            raise InventoryError([f"{shown}:{_line(error, path)}: {type(error).__name__}: {error}"]) from None

    return guarded


def about(module: ModuleType) -> str:
    """Return the first line of a module's docstring."""
    return (module.__doc__ or "").strip().partition("\n")[0]


def _line(error: Exception, path: Path) -> int:
    """Return the innermost line in an error's traceback that is in the module at `path`; 1 if there is none."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    return lines[-1] if lines else 1


def problems(role: Role, others: Mapping[str, Role]) -> Iterator[str]:
    """Yield a sentence for each reason why a role cannot be added to the others."""
    if not _NAME.fullmatch(role.name):
        yield (f"{role.origin}: a role cannot be called {role.name!r}: {_RULE}")
    elif role.name in _RESERVED:
        yield f"{role.origin}: a role cannot be called {role.name}: the name has another meaning"
    elif role.name in others:
        yield f"{role.origin}: there is already a role {role.name}, from {others[role.name].origin}"
    if role.settings is None:
        return
    key = role.key or role.name
    if not (isinstance(role.settings, type) and issubclass(role.settings, Model)):
        yield f"{role.origin}: settings must be a class made of plainstack.inventory.sections.Model"
        return
    if not _NAME.fullmatch(key):
        yield f"{role.origin}: the inventory cannot have a key {key!r}: {_RULE}"
    # A role's settings become an attribute of Stack, so they must not shadow another attribute.
    elif key in Stack.model_fields or hasattr(Stack, key):
        yield f"{role.origin}: the inventory's key {key} is reserved. Choose another with key="
    for other in others.values():
        if other.settings is not None and key == (other.key or other.name):
            yield f"{role.origin}: the inventory's key {key} belongs to the role {other.name}, from {other.origin}"


def unknown(role: Role, others: Mapping[str, Role]) -> Iterator[str]:
    """Yield a sentence for each name in a role's fields that is not the name of a role."""
    for field in ("after", "follows", "joins", "amid", "on", "needs", "used_by"):
        for name in getattr(role, field):
            if name not in others:
                hint = did_you_mean(name, list(others))
                yield f"{role.origin}: {field} names the role {name}, which does not exist{hint}"
    for pattern in role.uses:
        name = pattern.partition(".")[0]
        if "*" not in name and name not in others:
            yield f"{role.origin}: `uses` names the role {name}, which does not exist{did_you_mean(name, list(others))}"
    for name in {name for names in role.offers_to.values() for name in names} - {*others}:
        yield (
            f"{role.origin}: `offers_to` names the role {name}, which does not exist{did_you_mean(name, list(others))}"
        )
