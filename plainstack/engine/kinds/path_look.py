"""The part of the probe that reads paths, with one stat and one sha256sum for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from plainstack.engine.kinds.kind import Kind, Lines, Look
from plainstack.engine.observed import Observed, PathState
from plainstack.errors import PlainstackError

_SAFE_PATH = re.compile(r"/[A-Za-z0-9@%+=:,./_ -]*")

_SCRIPT = r"""
paths="{paths}"
named {left}
stats=
[ -z "$paths$named" ] || stats=$(sort -u <<PATHS | xargs -r -d '\n' stat -c 'path	%n	%F	%a	%U	%G	%N' 2>/dev/null
$paths
$named
PATHS
)
printf '%s\n' "$stats"
files= IFS=$newline
for line in $stats; do
    line=${{line#*	}}
    case $line in *"	regular file	"* | *"	regular empty file	"*) files=$files${{line%%	*}}$newline ;; esac
done
unset IFS
[ -z "$files" ] || tagged hash "$(xargs -r -d '\n' sha256sum 2>/dev/null <<FILES
${{files%"$newline"}}
FILES
)"
"""


def _ask(kinds: Sequence[Kind[Any]], items: Sequence[Any]) -> str:
    paths = sorted({item.path for item in items})
    for path in paths:
        if not _SAFE_PATH.fullmatch(path):
            raise PlainstackError(f"{path}: a managed path may hold only letters, digits, spaces and @%+=:,._-/")
    left = " ".join(f'{kind.name} "$root{kind.folder}"' for kind in kinds if kind.remembered)
    return _SCRIPT.format(paths="\n".join(f"$root{path}" for path in paths), left=left)


def _read(seen: Observed, lines: Lines) -> Observed:
    paths = {}
    for line in lines.get("path", ()):
        path, kind, mode, owner, group, shown = line.split("\t")
        target = shown.rpartition("' -> '")[2].rstrip("'") if kind == "symbolic link" else ""
        paths[path] = PathState(_kind(kind), int(mode, 8), owner, group, "", target)
    for line in lines.get("hash", ()):
        digest, _, path = line.partition("  ")
        if path in paths:
            paths[path] = replace(paths[path], sha256=digest)
    return replace(seen, paths=paths)


def _kind(described: str) -> str:
    if described.startswith("regular"):
        return "file"
    return {"directory": "directory", "symbolic link": "link"}.get(described, "special file")


PATHS = Look(("path", "hash"), _ask, _read)
