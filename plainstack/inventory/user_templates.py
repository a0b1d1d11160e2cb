"""The user's own templates: text files beside the inventory with references such as `${database.password}`."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from plainstack.inventory import references
from plainstack.wording import shortened

LARGEST = 1 << 20


def read(path: Path, shown: str) -> str:
    """Return the text of a template. Raises ValueError with a sentence that begins with `shown` if it is unusable."""
    shown = shortened(shown)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{shown}: is not a regular file")
        if found.st_size > LARGEST:
            raise ValueError(f"{shown}: is larger than {LARGEST // 1024} KiB, the limit of a template")
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ValueError(f"{shown}: no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ValueError(f"{shown}: cannot be read: {error.strerror}") from None


def referred(path: Path, shown: str) -> Iterator[tuple[int, str]]:
    """Yield each reference of a template with its line.

    Raises ValueError with a sentence that begins with `shown`, and with the line of a malformed reference.
    """
    for number, line in enumerate(read(path, shown).split("\n"), 1):
        try:
            names = references.names(line)
        except ValueError as error:
            raise ValueError(f"{shortened(shown)}:{number}: must be {error}") from None
        yield from ((number, name) for name in names)
