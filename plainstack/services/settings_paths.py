"""The paths that settings build from their own file, such as BASE_DIR / "media"."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from plainstack.services.settings_module import Binding, Settings

# The source's place while a path is evaluated; no host has such a folder.
_ROOT = PurePosixPath("/source")
_DEPTH = 20


def inside_source(settings: Settings, binding: Binding) -> str | None:
    """Return the path inside the source that a setting names; None if it is elsewhere or cannot be evaluated."""
    found = _path(settings, binding, binding.value, 0)
    if found is None or _ROOT not in found.parents:
        return None
    return str(found.relative_to(_ROOT))


def _path(settings: Settings, at: Binding, node: ast.expr | None, depth: int) -> PurePosixPath | None:
    if depth > _DEPTH:
        return None

    def deeper(inner: ast.expr) -> PurePosixPath | None:
        return _path(settings, at, inner, depth + 1)

    match node:
        case ast.Constant(value=str(text)):
            return PurePosixPath(text)
        case ast.Name(id="__file__"):
            inside = next((inside for inside, path in settings.files.items() if path == at.path), None)
            return _ROOT / inside if inside else None
        case ast.Name(id=name):
            known = settings.bound.get(name, [])
            return _path(settings, known[0], known[0].value, depth + 1) if len(known) == 1 else None
        case ast.Attribute(value=value, attr="parent"):
            base = deeper(value)
            return base.parent if base else None
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _joined([deeper(left), deeper(right)])
        case ast.Call(func=ast.Attribute(value=value, attr="resolve" | "absolute"), args=[]):
            return deeper(value)
        case ast.Call(
            func=ast.Name(id="Path" | "str") | ast.Attribute(attr="Path" | "abspath" | "realpath"), args=[one]
        ):
            return deeper(one)
        case ast.Call(func=ast.Attribute(attr="dirname"), args=[one]):
            base = deeper(one)
            return base.parent if base else None
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="path"), attr="join"), args=parts):
            return _joined([deeper(part) for part in parts])
        case ast.Call(func=ast.Attribute(value=value, attr="joinpath"), args=parts):
            return _joined([deeper(value), *(deeper(part) for part in parts)])
    return None


def _joined(parts: list[PurePosixPath | None]) -> PurePosixPath | None:
    known = [part for part in parts if part is not None]
    return PurePosixPath(*known) if len(known) == len(parts) else None
