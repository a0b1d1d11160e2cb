"""Checks the imports and environment variables that Django settings need."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from plainstack.inventory.services import DjangoService
from plainstack.services.settings_module import Settings, parsed

# Set by systemd, by Plainstack, or on every host.
_ALWAYS = frozenset({"RELEASE", "STATIC_ROOT", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"})
_KNOWN = frozenset({*dir(builtins), "__file__", "__name__", "__doc__", "__package__", "__path__", "__spec__"})
# Files from which libraries such as django-environ and python-decouple read variables, too.
_FILES = ("settings.ini", ".env")
_NO_STATEMENTS = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LAZY = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.DictComp, ast.SetComp)


def problems(settings: Settings, service: DjangoService) -> Iterator[str]:
    """Yield the names and the variables that the settings use but that do not exist on a host."""
    given = {*service.env, *_ALWAYS}
    for name, secret in service.secrets.items():
        given |= {f"{name}_FILE" if secret.file else name, *([secret.fallbacks] if secret.fallbacks else [])}
    for path in settings.paths:
        tree = parsed(path)
        assert tree is not None
        yield from _undefined(tree, path, settings)
        if not any(inside.endswith(_FILES) for inside in settings.files):
            yield from _unset(tree, path, given)


def _undefined(tree: ast.Module, path: str, settings: Settings) -> Iterator[str]:
    bound = {*settings.bound, *_KNOWN}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.split(".")[0])
    seen = set()
    for statement, node in _always_run(tree):
        if isinstance(node, ast.Name) and node.id not in bound and node.id not in seen:
            seen.add(node.id)
            yield f"{path}:{statement.lineno}: {node.id} is not defined. Write at the top: import {node.id}"


def _unset(tree: ast.Module, path: str, given: set[str]) -> Iterator[str]:
    schemes = _schemes(tree)
    seen = set()
    for statement, node in _always_run(tree):
        variable = _read(node, schemes)
        if variable and variable not in given and variable not in seen:
            seen.add(variable)
            yield (
                f"{path}:{statement.lineno}: needs the environment variable {variable}. Name it in the inventory, in"
                " the env or the secrets of the service"
            )


def _always_run(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Yield the statements that run under every condition, each with all expressions in it that are evaluated."""
    for statement in tree.body:
        if not isinstance(statement, _NO_STATEMENTS):
            yield from ((statement, node) for node in _evaluated(statement))


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _LAZY):
            yield from _evaluated(child)


def _schemes(tree: ast.Module) -> dict[str, set[str]]:
    """Return the names of the readers of variables that a module makes or imports, each with its own defaults."""
    found: dict[str, set[str]] = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id="environ"), attr="Env" | "FileAwareEnv"), keywords=own
                ),
            ):
                found[name] = {each.arg or "" for each in own}
            case ast.ImportFrom(module="decouple", names=names):
                found |= {each.asname or each.name: set() for each in names if each.name == "config"}
    return found


def _read(node: ast.AST, schemes: dict[str, set[str]]) -> str:
    """Return the variable without which an expression fails, or makes an SQLite database; empty if there is none."""
    match node:
        case ast.Subscript(
            value=ast.Attribute(value=ast.Name(id="os"), attr="environ"),
            slice=ast.Constant(value=str(name)),
            ctx=ast.Load(),
        ):
            return name
        case ast.Call(
            func=ast.Name(id=reader) | ast.Attribute(value=ast.Name(id=reader)),
            args=[ast.Constant(value=str(name))],
            keywords=keywords,
        ) if reader in schemes:
            optional = name in schemes[reader] or any(each.arg in ("default", None) for each in keywords)
            return "" if optional or not name.isidentifier() else name
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="dj_database_url"), attr="config"), args=args, keywords=keywords
        ):
            named = {each.arg: each.value for each in keywords}
            default = named.get("default", args[1] if len(args) > 1 else None)
            variable = named.get("env", args[0] if args else ast.Constant("DATABASE_URL"))
            if isinstance(variable, ast.Constant) and (default is None or "sqlite:" in ast.unparse(default)):
                return str(variable.value)
    return ""
