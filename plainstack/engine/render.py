"""Jinja templates -> File resources; an undefined name is an error that names template:line and the host."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from plainstack import shipped
from plainstack.engine.resources import File
from plainstack.errors import InventoryError
from plainstack.secrets.values import Secret

TEMPLATES = shipped.TEMPLATES
FILES = shipped.FILES


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
    import jinja2

    from plainstack.engine.environment import environment, printed

    name = f"{role}/{(source or path).lstrip('/')}.j2"
    shown = f"templates/{name}"
    host = values.get("host")
    where = f" (host {host.name})" if host is not None and hasattr(host, "name") else ""
    secrets: list[Secret] = []
    outer = printed.set(secrets)
    try:
        text = environment(TEMPLATES, square).get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InventoryError([f"templates/{error.name}: no such template"]) from None
    except jinja2.TemplateSyntaxError as error:
        raise InventoryError([f"{shown}:{error.lineno}: {error.message}"]) from None
    except (jinja2.TemplateRuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InventoryError([f"{_place_of(error, shown)}: {error}{where}"]) from None
    finally:
        printed.reset(outer)
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
