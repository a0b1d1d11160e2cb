"""Jinja templates -> File resources; an undefined name is an error that reports the template, line and host."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plainstack.engine.resources import File
from plainstack.engine.sources import Sources, current
from plainstack.errors import InventoryError
from plainstack.secrets.values import Secret

NOWHERE: Mapping[str, object] = MappingProxyType({})


def template(
    role: str,
    path: str,
    *,
    at: Mapping[str, object] = NOWHERE,
    mode: int = 0o644,
    owner: str = "root",
    group: str = "root",
    early: bool = False,
    vital: bool = False,
    square: bool = False,
    **values: Any,
) -> File:
    """Return the file at `path`, rendered from templates/<role>/<path>.j2.

    The path may hold placeholders, as in /etc/app/{service}.env; the template's path holds them too, and `at` gives
    their values. The template, and any that it includes, is searched for in the stack's folder first, then among the
    shipped ones. `values` should include `host`, so that error messages can name it. Raises InventoryError if the
    template is missing, invalid or uses an undefined name, if a secret would be written to a world-readable file, and
    if a secret was embedded in another string.
    """
    import jinja2

    from plainstack.engine.environment import environment, printed

    name = f"{role}/{path.lstrip('/')}.j2"
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
            [f"{_shown(sources, name)}: holds a secret and would have mode {mode:04o}, readable by every account"]
        )
    if "<secret " in text:
        raise InventoryError(
            [f"{_shown(sources, name)}: a secret was embedded in another string, which hides its value{where}"]
        )
    place, content = path.format_map(at), text.encode()
    return File(
        path=place,
        content=content,
        mode=mode,
        owner=owner,
        group=group,
        secret=bool(secrets),
        early=early,
        vital=vital,
    )


def verbatim(
    role: str,
    path: str,
    *,
    at: Mapping[str, object] = NOWHERE,
    mode: int = 0o644,
    owner: str = "root",
    group: str = "root",
    early: bool = False,
) -> File:
    """Return the file at `path`, copied from files/<role>/<path> in the stack's folder or among the shipped files.

    The path may hold placeholders, as in `template`. Raises InventoryError if there is no such file.
    """
    name = f"files/{role}/{path.lstrip('/')}"
    source = current().find(name)
    if source is None:
        raise InventoryError([f"{name}: no such file"])
    return File(path=path.format_map(at), content=source.read_bytes(), mode=mode, owner=owner, group=group, early=early)


def _shown(sources: Sources, template: str) -> str:
    """Return the path of a template as error messages show it."""
    name = f"templates/{template}"
    found = sources.find(name)
    return (found and sources.shown(found)) or name


def _file_of(error: Any, sources: Sources, template: str) -> str:
    """Return the path of the invalid template, which may be one that `template` includes."""
    return (error.filename and sources.shown(Path(error.filename))) or _shown(sources, template)


def _place_of(error: BaseException, sources: Sources, template: str) -> str:
    """Return the innermost template line in the error's traceback, as path:line."""
    place = f"{_shown(sources, template)}:1"
    for frame, line in traceback.walk_tb(error.__traceback__):
        if shown := sources.shown(Path(frame.f_code.co_filename)):
            place = f"{shown}:{line}"
    return place
