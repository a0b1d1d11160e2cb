"""`plainstack init DIR`: a folder with all that a new stack needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from plainstack import shipped
from plainstack.engine.role import shape
from plainstack.errors import InventoryError, Refused
from plainstack.inventory import load
from plainstack.roles import registry

_FILES = Path(__file__).with_name("new_stack")
# A package's data cannot begin with a dot everywhere.
_NAMES = {"gitignore": ".gitignore"}
_EXAMPLE = Path("apps/incidents")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache")


def init(folder: Path, name: str = "") -> list[Path]:
    """Write a stack that `inv lab.up` and `inv deploy` bring up; gives what was written, relative to the folder.

    Without a name the stack is called like the folder. Raises Refused, before anything is written, for a name that no
    stack can have and for a file that is there already.
    """
    name = name or folder.resolve().name
    texts = {file.name: _text(file, name) for file in sorted(_FILES.iterdir()) if file.is_file()}
    try:
        load.parse(texts["hosts.yaml"], "hosts.yaml", shipped.ROOT, shape(registry()))
    except InventoryError as error:
        reason = error.problems[0].partition(": ")[2]
        raise Refused(f"{reason}\nname the stack otherwise: plainstack init {folder} --name=NAME") from None
    written = [*(Path(_NAMES.get(file, file)) for file in texts), _EXAMPLE]
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is not a folder")
    for path in written:
        if (folder / path).exists() or (folder / path).is_symlink():
            raise Refused(f"{folder / path} exists already; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / _NAMES.get(file, file)).write_text(text, encoding="utf-8")
    shutil.copytree(shipped.ROOT / _EXAMPLE, folder / _EXAMPLE, ignore=_LEFT_OUT)
    return written


def _text(file: Path, name: str) -> str:
    text = file.read_text(encoding="utf-8")
    return text.replace("DATABASE", name.replace("-", "_")[:31]).replace("NAME", name)
