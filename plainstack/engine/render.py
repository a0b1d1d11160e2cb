"""Jinja templates -> File resources; an undefined name is an error that names template:line and the host."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jinja2

from plainstack import shipped
from plainstack.engine.resources import File
from plainstack.errors import InventoryError
from plainstack.secrets.values import Secret

TEMPLATES = shipped.TEMPLATES
FILES = shipped.FILES


# The secrets that the rendering which runs in this thread has printed.
_printed: ContextVar[list[Secret]] = ContextVar("printed")


def _print(value: Any) -> Any:
    """What a template prints for a value: for a secret, what it holds."""
    if isinstance(value, Secret):
        _printed.get().append(value)
        return value.reveal()
    if value is None:
        raise jinja2.UndefinedError("a value is None where a text is printed")
    return value


def _cache() -> jinja2.BytecodeCache | None:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plainstack" / "jinja"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # the latter: an operator without a home
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


class _Environment(jinja2.Environment):
    """One in which a secret can be printed as it is, and nothing else: whatever is made of one is not known as one."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Secret):
            raise jinja2.UndefinedError(f"a secret is printed as it is, without .{attribute}")
        return super().getattr(obj, attribute)


def _refusing_secrets(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> Any:
        if any(isinstance(arg, Secret) for arg in args):
            raise jinja2.UndefinedError(f"a secret cannot go through the filter {name!r}")
        return function(*args, **options)

    return guarded


# Prometheus' own templates use {{ }}; files that hold such are written with [[ ]] for ours.
_SQUARE = {
    "variable_start_string": "[[",
    "variable_end_string": "]]",
    "block_start_string": "[%",
    "block_end_string": "%]",
    "comment_start_string": "[#",
    "comment_end_string": "#]",
}


@functools.cache
def _environment(folder: Path, square: bool) -> jinja2.Environment:
    options: dict[str, Any] = dict(_SQUARE) if square else {}
    made = _Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        finalize=_print,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # configuration files, not HTML
        bytecode_cache=_cache(),
        **options,
    )
    made.filters.update({name: _refusing_secrets(name, function) for name, function in made.filters.items()})
    return made


def template(
    role: str,
    path: str,
    *,
    source: str = "",
    mode: int = 0o644,
    owner: str = "root",
    group: str = "root",
    early: bool = False,
    square: bool = False,
    **values: Any,
) -> File:
    """The file at `path` on a host, rendered from templates/<role>/<path>.j2 (or `source` there, if the path varies).

    `values` should hold `host` for error messages to name it. Raises InventoryError for a template that is missing,
    broken, or uses a name that is not given, and for a secret in a file that everybody may read.
    """
    name = f"{role}/{(source or path).lstrip('/')}.j2"
    shown = f"templates/{name}"
    host = values.get("host")
    where = f" (host {host.name})" if host is not None and hasattr(host, "name") else ""
    secrets: list[Secret] = []
    outer = _printed.set(secrets)
    try:
        text = _environment(TEMPLATES, square).get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InventoryError([f"templates/{error.name}: no such template"]) from None
    except jinja2.TemplateSyntaxError as error:
        raise InventoryError([f"{shown}:{error.lineno}: {error.message}"]) from None
    except (jinja2.TemplateRuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InventoryError([f"{_place_of(error, shown)}: {error}{where}"]) from None
    finally:
        _printed.reset(outer)
    if secrets and mode & 0o007:
        raise InventoryError([f"{shown}: holds a secret and would have mode {mode:04o}, readable by everybody"])
    if "<secret " in text:
        raise InventoryError([f"{shown}: a secret was made part of another text and lost its value{where}"])
    return File(
        path=path, content=text.encode(), mode=mode, owner=owner, group=group, secret=bool(secrets), early=early
    )


def verbatim(
    role: str, path: str, *, mode: int = 0o644, owner: str = "root", group: str = "root", early: bool = False
) -> File:
    """The file at `path` on a host, taken as it is from files/<role>/<path>."""
    source = FILES / role / path.lstrip("/")
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        raise InventoryError([f"files/{role}{path}: no such file"]) from None
    return File(path=path, content=content, mode=mode, owner=owner, group=group, early=early)


def _place_of(error: BaseException, shown: str) -> str:
    """The innermost template line that the error came through."""
    place = f"{shown}:1"
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(TEMPLATES):
            place = f"templates/{path.relative_to(TEMPLATES)}:{line}"
    return place
