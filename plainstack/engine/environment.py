"""The Jinja environment of templates, which prints secrets verbatim and refuses every other use of them.

It is a separate module so that commands that render nothing do not import Jinja.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jinja2

from plainstack.addresses import bracketed, endpoint, only
from plainstack.secrets.values import Secret

# The secrets that the current rendering has printed.
printed: ContextVar[list[Secret]] = ContextVar("printed")


def _print(value: Any) -> Any:
    """Return what a template prints for a value; a secret is revealed and recorded in `printed`."""
    if isinstance(value, Secret):
        printed.get().append(value)
        return value.reveal()
    if value is None:
        raise jinja2.UndefinedError("a printed value is None")
    return value


def _cache() -> jinja2.BytecodeCache | None:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plainstack" / "jinja"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # RuntimeError: the operator has no home directory
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


class _Environment(jinja2.Environment):
    """An environment in which a secret can only be printed: a value derived from it would not be tracked as secret."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Secret):
            raise jinja2.UndefinedError(f"a secret can only be printed whole, without .{attribute}")
        return super().getattr(obj, attribute)


def _refusing_secrets(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> Any:
        if any(isinstance(arg, Secret) for arg in args):
            raise jinja2.UndefinedError(f"a secret cannot go through the filter {name!r}")
        return function(*args, **options)

    return guarded


# Prometheus templates use {{ }} themselves, so templates that contain them use [[ ]] instead.
_SQUARE = {
    "variable_start_string": "[[",
    "variable_end_string": "]]",
    "block_start_string": "[%",
    "block_end_string": "%]",
    "comment_start_string": "[#",
    "comment_end_string": "#]",
}


@functools.cache
def environment(folders: tuple[Path, ...], square: bool) -> jinja2.Environment:
    """Return the environment for templates in these folders; with `square`, they use [[ ]] instead of {{ }}."""
    options: dict[str, Any] = dict(_SQUARE) if square else {}
    made = _Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        finalize=_print,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # configuration files, not HTML
        bytecode_cache=_cache(),
        **options,
    )
    made.filters.update({"bracketed": bracketed, "endpoint": endpoint, "only": only})
    made.filters.update({name: _refusing_secrets(name, function) for name, function in made.filters.items()})
    return made
