"""The names that a Django settings module defines, itself or by star imports. The module is read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from plainstack.dataclass import dataclass

# Names and modules that can create settings without an assignment.
_UNSURE = frozenset(
    {"globals", "locals", "vars", "exec", "eval", "setattr", "import_module", "modules", "__getattr__", "__dict__"}
)
_UNSURE_MODULES = frozenset({"configurations", "dynaconf", "split_settings", "django_heroku", "pydantic_settings"})
# Functions that build a path from paths without looking at the file system.
_PATHS = frozenset({"join", "dirname", "abspath", "realpath", "normpath", "Path", "PurePath", "str", "fspath"})
_METHODS = frozenset({"resolve", "absolute", "joinpath", "as_posix", "with_name"})
_DEPTH = 20

Files = Mapping[str, str]
"""The local path of every file that is sent, by its path in the source."""


@dataclass(frozen=True)
class Binding:
    """An assignment to a name; `value` is None if it cannot be read."""

    path: str
    line: int
    value: ast.expr | None


@dataclass
class Settings:
    """Everything that settings modules define, in order; `sure` is false if they may define more."""

    files: Files
    bound: dict[str, list[Binding]] = field(default_factory=dict)
    sure: bool = True
    _read: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The local paths of the modules that were read."""
        return [self.files[inside] for inside in self._read]

    def read(self, module: str) -> None:
        """Read a module of the source, and the modules that it star-imports."""
        inside = file_of(module, self.files)
        if inside is None or inside in self._read:
            return
        self._read.append(inside)
        tree = parsed(self.files[inside])
        if tree is None or len(self._read) > _DEPTH:
            self.sure = False
            return
        package = module if inside.endswith("/__init__.py") else module.rpartition(".")[0]
        for node in ast.walk(tree):
            self.sure = self.sure and not _hides_bindings(node)
        self._block(tree.body, self.files[inside], package)

    def _block(self, body: list[ast.stmt], path: str, package: str) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom):
                self._import(node, path, package)
                continue
            for name, value in _bindings(node):
                self.bound.setdefault(name, []).append(Binding(path, node.lineno, value))
            for block in ("body", "orelse", "finalbody"):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self._block(getattr(node, block, []), path, package)
            for handler in getattr(node, "handlers", []):
                self._block(handler.body, path, package)

    def _import(self, node: ast.ImportFrom, path: str, package: str) -> None:
        parents = package.split(".") if package else []
        above = parents[: len(parents) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        if node.names[0].name != "*":
            for alias in node.names:
                self.bound.setdefault(alias.asname or alias.name, []).append(Binding(path, node.lineno, None))
        elif any(inside.startswith(f"{module.split('.')[0]}/") for inside in self.files):
            # A module that belongs to the source but is not sent does not exist on a host either.
            self.read(module)
        elif module != "django.conf.global_settings":
            self.sure = False

    def fixed(self, node: ast.expr | None, depth: int = 0) -> bool:
        """Return whether an expression consists only of constants and the file's own location."""
        if depth > _DEPTH:
            return False
        deeper = depth + 1
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                known = self.bound.get(name, [])
                return name == "__file__" or (bool(known) and all(self.fixed(one.value, deeper) for one in known))
            case ast.Attribute(value=value) | ast.FormattedValue(value=value):
                return self.fixed(value, deeper)
            case ast.Subscript(value=value, slice=index):
                return self.fixed(value, deeper) and self.fixed(index, deeper)
            case ast.BinOp(left=left, right=right):
                return self.fixed(left, deeper) and self.fixed(right, deeper)
            case ast.JoinedStr(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                return all(self.fixed(part, deeper) for part in parts)
            case ast.Call(func=func, args=args, keywords=[]):
                return self._makes_a_path(func, deeper) and all(self.fixed(argument, deeper) for argument in args)
        return False

    def _makes_a_path(self, func: ast.expr, depth: int) -> bool:
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        if name in _PATHS:
            return True
        return name in _METHODS and isinstance(func, ast.Attribute) and self.fixed(func.value, depth)


def parsed(path: str) -> ast.Module | None:
    """Return the syntax tree of a file; None if this Python cannot parse it, as the hosts' Python may be newer."""
    try:
        return ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return None


def file_of(module: str, files: Files) -> str | None:
    """Return the file of a module in the source; None if it is not sent."""
    stem = module.replace(".", "/")
    return next((file for file in (f"{stem}/__init__.py", f"{stem}.py") if file in files), None)


def _hides_bindings(node: ast.AST) -> bool:
    if isinstance(node, ast.Match | ast.Global):
        return True
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in _UNSURE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in _UNSURE_MODULES
    names = (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    return any(isinstance(name, str) and name in _UNSURE for name in names)


def _bindings(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield every name that a statement itself defines or changes, with the value if it is a simple assignment."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
                else:
                    yield from ((name, None) for name in _names(target))
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            yield name, value
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name, None
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, None
        case ast.Import(names=aliases):
            yield from ((alias.asname or alias.name.split(".")[0], None) for alias in aliases)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            yield name, None  # as INSTALLED_APPS.append(...)
        case ast.For(target=target):
            yield from ((name, None) for name in _names(target))
        case ast.With(items=items):
            yield from ((name, None) for item in items if item.optional_vars for name in _names(item.optional_vars))
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr):
            yield inner.target.id, None


def _names(target: ast.expr) -> Iterator[str]:
    return (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))
