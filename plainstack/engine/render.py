"""Jinja templates -> File resources; an undefined name is an error that names template:line and the host."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from plainstack.engine.resources import File
from plainstack.engine.sources import Sources, current
from plainstack.errors import InventoryError
from plainstack.secrets.values import Secret


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

    It is looked for in the stack's folder first, then in what Plainstack ships; so is what a template includes.
    `values` should hold `host` for error messages to name it. Raises InventoryError for a template that is missing,
    broken, or uses a name that is not given, and for a secret in a file that everybody may read.
    """
    import jinja2

    from plainstack.engine.environment import environment, printed

    name = f"{role}/{(source or path).lstrip('/')}.j2"
    sources = current()
    host = values.get("host")
    where = f" (host {host.name})" if host is not None and hasattr(host, "name") else ""
    secrets: list[Secret] = []
    outer = printed.set(secrets)
    try:
        text = environment(sources.within("templates"), square).get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InventoryError([f"templates/{error.name}: no such template"]) from None
    except jinja2.TemplateSyntaxError as error:
        raise InventoryError([f"{_file_of(error, sources, name)}:{error.lineno}: {error.message}"]) from None
    except (jinja2.TemplateRuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InventoryError([f"{_place_of(error, sources, name)}: {error}{where}"]) from None
    finally:
        printed.reset(outer)
    if secrets and mode & 0o007:
        raise InventoryError(
            [f"{_shown(sources, name)}: holds a secret and would have mode {mode:04o}, readable by everybody"]
        )
    if "<secret " in text:
        raise InventoryError(
            [f"{_shown(sources, name)}: a secret was made part of another text and lost its value{where}"]
        )
    return File(
        path=path, content=text.encode(), mode=mode, owner=owner, group=group, secret=bool(secrets), early=early
    )


def verbatim(
    role: str, path: str, *, mode: int = 0o644, owner: str = "root", group: str = "root", early: bool = False
) -> File:
    """The file at `path` on a host, taken as it is from files/<role>/<path>: the stack's own, or the shipped one."""
    name = f"files/{role}/{path.lstrip('/')}"
    source = current().find(name)
    if source is None:
        raise InventoryError([f"{name}: no such file"])
    return File(path=path, content=source.read_bytes(), mode=mode, owner=owner, group=group, early=early)


def _shown(sources: Sources, template: str) -> str:
    """The template with the folder that it is found in."""
    name = f"templates/{template}"
    found = sources.find(name)
    return (found and sources.shown(found)) or name


def _file_of(error: Any, sources: Sources, template: str) -> str:
    """The template that is broken: perhaps one that this one includes."""
    return (error.filename and sources.shown(Path(error.filename))) or _shown(sources, template)


def _place_of(error: BaseException, sources: Sources, template: str) -> str:
    """The innermost template line that the error came through."""
    place = f"{_shown(sources, template)}:1"
    for frame, line in traceback.walk_tb(error.__traceback__):
        if shown := sources.shown(Path(frame.f_code.co_filename)):
            place = f"{shown}:{line}"
    return place
