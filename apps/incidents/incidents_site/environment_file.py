"""Reads .env beside manage.py, for a laptop. On hosts there is none: systemd sets the environment."""

import os
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / ".env"


def load(file: Path = FILE) -> None:
    """Set the variables of the file that are not set: NAME=value, with # before comments. Raises SystemExit."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        text = line.strip()
        name, equals, value = text.partition("=")
        if not text or text.startswith("#"):
            continue
        if not equals or not name.strip().isidentifier():
            raise SystemExit(f"{file}:{number}: must be NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        os.environ.setdefault(name.strip(), value)
