"""Rules of the architecture: which package may import which, and which packages must not name a role."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from plainstack import roles

ROOT = Path(__file__).resolve().parents[2] / "plainstack"

# Each line is a layer. A package may import packages of the layers below. It may also import packages of its own layer
# if this makes no import cycle.
LAYERS = (
    {"cli"},
    {"deploy", "drill", "lab"},
    {"roles", "services", "postgresql"},
    {"engine", "ssh", "secrets", "inventory"},
    {"addresses", "bytecode", "dataclass", "errors", "paths", "shell", "shipped", "state_folder", "wording"},
)
# Imports that are forbidden within a layer.
NEVER = {("postgresql", "roles"), ("services", "roles"), ("engine", "ssh"), ("ssh", "engine")}

NAMELESS = ("engine", "deploy", "cli", "inventory", "ssh")


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the program, by its path below plainstack/."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
        if "new_stack" not in path.parts
    }


@cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return every node of a module."""
    return tuple(ast.walk(tree))


def package_of(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the packages of Plainstack that a module imports, also inside functions."""
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "plainstack":
            first = (node.module or "").split(".")[1:2]
            yield from first or (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("plainstack."))


@cache
@cache
def edges() -> Counter[tuple[str, str]]:
    """For each pair of packages, count the modules of the first that import the second."""
    pairs = ((package_of(path), to) for path, tree in modules().items() for to in set(imports(tree)))
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def layer(package: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


def test_packages_import_only_packages_of_lower_layers_or_their_own() -> None:
    known = {package for packages in LAYERS for package in packages}
    bad = [
        f"{package} imports {other}"
        for package, other in edges()
        if package in known and other in known and (layer(package) > layer(other) or (package, other) in NEVER)
    ]
    assert bad == []
    assert {package for pair in edges() for package in pair} <= known | {"__init__"}


def test_the_wheel_contains_every_package() -> None:
    listed = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    folders = {str(path.parent.relative_to(ROOT.parent)).replace("/", ".") for path in ROOT.rglob("__init__.py")}
    assert {name for name in listed if "._shipped." not in name} == {
        name for name in folders if "new_stack" not in name
    }


def test_no_package_imports_itself_through_another() -> None:
    graph: dict[str, set[str]] = {}
    for package, other in edges():
        graph.setdefault(package, set()).add(other)
    TopologicalSorter(graph).prepare()


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """Return the docstrings of a module, its classes and its functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = (node.body[0] for node in nodes(tree) if isinstance(node, kinds) and node.body)
    return {node.value for node in first if isinstance(node, ast.Expr)}


@cache
def said(tree: ast.Module) -> tuple[str, ...]:
    """Return every identifier, and every string that is not a docstring."""
    return tuple(_said(tree))


def _said(tree: ast.Module) -> Iterator[str]:
    prose = docstrings(tree)
    for node in nodes(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in prose:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield name


# The name of a role that is also a common word: of functools, of folders, of HTTP.
COMMON = {"cache"}


def named(path: str) -> tuple[str, ...]:
    """Return the first 40 characters of each identifier and string of a module that contain the name of a role."""
    role = re.compile(rf"\b({'|'.join(roles.registry().keys() - COMMON)})s?\b")
    return tuple(sorted({text.strip()[:40].rstrip() for text in said(modules()[path]) if role.search(text)}))


# Words that only look like a role's name, and texts about the database in messages and commands. Do not add to them.
EXCEPTIONS: dict[str, tuple[str, ...]] = {
    # The help of `fab failover`, which concerns only the database, and of `fab failover drill`.
    "cli/fab.py": (
        "db",
        "drill: how many GETs may fail (default:",
        "drill: how: kill, stop, cut or all; also",
        "drill: what to break: db, app, balancer,",
        "rejoin: only this db host (default: all",
        "switchover, promote: the db host that be",
    ),
    # A folder of the example application.
    "cli/init.py": ("apps/incidents",),
    # The commands about backups and their messages.
    "cli/restore_one_command.py": ("backup",),
    "cli/backup_commands.py": (
        ": inv backups lists it once it is usable",
        "backup",
        "backups",
        "no usable backup was taken:",
        "see: inv logs plainstack-backup",
        "the backup continues on",
    ),
    "cli/backup_tasks.py": (
        "a db host that copies the restored clust",
        "backup",
        "backup-now",
        "backups",
        "bring back the backups that only the sec",
        "copy only what changed since the last ba",
        "fetch the backup and its WAL from the se",
        "the id of a backup, from `inv backups` (",
    ),
    "cli/inv.py": ("backups",),
    "cli/restore_commands.py": (
        ". The backups and their WAL reach",
        ". There is no backup yet: inv backup-now",
        "a moment (--at, --before-xid, --backup),",
        "backup",
        'name the moment to go back to: --at="202',
        "no db host answers (",
        "nothing to do: no db host keeps data fro",
    ),
    "cli/restore_report.py": (", from backup",),
    "cli/restore_tasks.py": ("backup", "start from this backup; without --at and"),
    "cli/second_copy_commands.py": (
        ": backup",
        ": fetching backups from",
        "backup",
        "there is no key yet. Run: inv deploy --r",
    ),
    "deploy/restore.py": ("backup",),
    "deploy/restore_test.py": ("backup",),
    # An example in the documentation.
    "cli/reference.py": ("# The inventory\n\nEvery key of hosts.yaml",),
    # A field of dpkg-query.
    "engine/kinds/package.py": ("package\\t${Package}\\t${db:Status-Status}",),
    # The owners of ports, as messages name them.
    "inventory/port_numbers.py": (
        "the balancers (HTTP)",
        "the balancers (HTTPS)",
        "the balancers (status page)",
        "the balancers' metrics",
    ),
    # Names of units, and of Debian's system accounts.
    "inventory/reserved.py": (
        "backup-full",
        "backup-incremental",
        "backup-metrics",
        "firewall",
        "root daemon bin sys sync games man lp ma",
    ),
    # Descriptions of keys that belong to no role.
    "inventory/route_parts.py": (
        "Seconds that a balancer waits for a resp",
        "The name, or wildcard such as `*.example",
        "The users who may log in by HTTP basic a",
    ),
    "inventory/sections.py": (
        "The network interface of the public addr",
        "The networks that may connect to the SSH",
    ),
    "inventory/service_parts.py": (
        "Seconds that a balancer waits for a resp",
        "The URL paths that the balancers pass on",
        "backup",
    ),
    "inventory/services.py": (
        "Files of each release that the balancers",
        "Gunicorn's worker processes on each app",
        "Seconds that a balancer waits for a resp",
        "The URL path of the service; the balance",
        "The port on which the app hosts serve it",
        "The role or the hosts that run the servi",
        "Threads of each worker.",
        "Who answers requests for the files that",
        "balancers",
        "workers",
    ),
    "inventory/values.py": ("at least 1: with 0 no backup is kept",),
}


def test_no_package_below_the_roles_names_a_role() -> None:
    found = {path: texts for path in modules() if package_of(path) in NAMELESS and (texts := named(path))}
    assert found == EXCEPTIONS


def test_the_version_of_postgresql_is_written_in_one_place() -> None:
    """The paths of templates may contain it too, because they are the paths of the files on a host."""
    version = re.compile(r"postgresql(-client)?[@/-]17|\b17/main")
    texts = {f"plainstack/{path}": " ".join(said(tree)) for path, tree in modules().items()}
    for folder in ("templates", "files", "checks"):
        texts |= {
            str(path.relative_to(ROOT.parent)): path.read_text(encoding="utf-8")
            for path in (ROOT.parent / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
    assert [path for path, text in texts.items() if version.search(text)] == []
