"""`plainstack init DIR`: creates a folder with everything that a new stack needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from plainstack import shipped
from plainstack.engine.role import shape
from plainstack.errors import InventoryError, Refused
from plainstack.inventory import load
from plainstack.roles import registry

_FILES = Path(__file__).with_name("new_stack")
# Some packaging tools leave out data files whose names start with a dot.
_NAMES = {"gitignore": ".gitignore"}
_EXAMPLE = Path("apps/incidents")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".env", "*.sqlite3")


def init(folder: Path, name: str = "") -> list[Path]:
    """Write a stack that `inv lab.up` and `inv deploy` bring up, and return the written paths, relative to `folder`.

    `name` defaults to the folder's name. Raises Refused, before anything is written, if the name is not valid or a file
    already exists.
    """
    name = name or folder.resolve().name
    texts = {file.name: _text(file, name) for file in sorted(_FILES.iterdir()) if file.is_file()}
    try:
        load.parse(texts["hosts.yaml"], "hosts.yaml", shipped.ROOT, shape(registry()))
    except InventoryError as error:
        reason = error.problems[0].partition(": ")[2]
        raise Refused(f"{reason}\nChoose another name: plainstack init {folder} --name=NAME") from None
    written = [*(Path(_NAMES.get(file, file)) for file in texts), _EXAMPLE]
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is not a folder")
    for path in written:
        if (folder / path).exists() or (folder / path).is_symlink():
            raise Refused(f"{folder / path} already exists; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / _NAMES.get(file, file)).write_text(text, encoding="utf-8")
    shutil.copytree(shipped.ROOT / _EXAMPLE, folder / _EXAMPLE, ignore=_LEFT_OUT)
    return written


def _text(file: Path, name: str) -> str:
    text = file.read_text(encoding="utf-8")
    return text.replace("@DATABASE@", name.replace("-", "_")[:31]).replace("@NAME@", name)
