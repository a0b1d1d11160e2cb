"""Build the program: one executable file, the same for the same source."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).parent
SHEBANG = b"#!/usr/bin/python3\n"


def archive() -> bytes:
    """Return the file: a ZIP archive, which Python runs, after the line that names Python."""
    content = BytesIO(SHEBANG)
    content.seek(0, os.SEEK_END)
    with zipfile.ZipFile(content, "a") as file:
        for path in sorted((HERE / "src").glob("*.py")):
            # The time of a file would make each build another release.
            file.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return content.getvalue()


def build(target: Path) -> None:
    """Write the program in one step, so that nobody can run half of it."""
    half = target.with_name(f".{target.name}.{os.getpid()}")
    half.write_bytes(archive())
    half.chmod(0o755)
    half.rename(target)


if __name__ == "__main__":
    build(HERE / "bingo")
