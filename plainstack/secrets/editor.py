"""Edits secrets in the operator's editor: the file is in memory and removed at the end; messages quote no value."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from plainstack.errors import Refused
from plainstack.secrets.declaration import Origin, unfit

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of mode 0700 is made in it
_LINE = re.compile(r"([A-Za-z0-9_/-]+): *(\S.*|)")
# Values that are written without quotes; all others are written as JSON strings.
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_HEAD = """\
# The secrets of the stack {stack}, NAME: VALUE. Save and quit the editor to continue; an empty file changes nothing.
# A value in quotes is a JSON string: "two\\nlines".
"""


def edit(
    stack: str, values: Mapping[str, str], origins: Mapping[str, Origin], again: Callable[[str], bool]
) -> dict[str, str]:
    """Let the operator edit the values of secrets; `origins` has every secret that may be given a value.

    `again` is called with the problems of an invalid text, and returns whether to reopen the editor. Raises Refused if
    the editor fails, or if the text is invalid and `again` returns false.
    """
    text = _HEAD.format(stack=stack) + "".join(f"{name}: {_quoted(value)}\n" for name, value in sorted(values.items()))
    with _signals() as end, _workspace() as folder:
        file = folder / f"{stack}.secrets"
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        while True:
            _open_editor(file, end)
            try:
                return parse(file.read_text(encoding="utf-8", errors="replace"), values, origins)
            except Refused as problem:
                if not again(str(problem)):
                    raise Refused("nothing was saved") from None


def parse(text: str, before: Mapping[str, str], origins: Mapping[str, Origin]) -> dict[str, str]:
    """Return the values in an edited text; an empty text changes nothing.

    Raises Refused with every problem and its line.
    """
    found: dict[str, str] = {}
    problems = []
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    for number, line in lines:
        match = _LINE.fullmatch(line)
        value = _unquoted(match[2]) if match else None
        if not match or value is None:
            problems.append(f"line {number}: is not of the form NAME: VALUE")
            continue
        name = match[1]
        if name not in origins:
            problems.append(
                f"line {number}: no role uses a secret of this name. Known secrets: {', '.join(sorted(origins))}"
            )
        elif name in found:
            problems.append(f"line {number}: {name} is given twice")
        elif value != before.get(name) and (problem := unfit(value, origins[name])):
            problems.append(f"line {number}: {name} {problem}")
        found[name] = value
    missing = sorted(set(before) - set(found))
    if missing and lines:
        problems.append(f"missing, although in use: {', '.join(missing)}. For a new value: inv secrets.rotate NAME")
    if problems:
        raise Refused("\n".join(problems))
    return found or dict(before)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=not value.isprintable())


def _unquoted(text: str) -> str | None:
    """Return the value that a text stands for; None if its quotes are wrong."""
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


class _End:
    """A signal handler that ends the command: at once, or after the editor has started, so that it is killed too."""

    def __init__(self) -> None:
        self._waits = False
        self._number = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        if not self._waits:
            raise SystemExit(128 + number)

    def hold(self) -> None:
        self._waits = True

    def release(self) -> None:
        self._waits = False
        if self._number:
            raise SystemExit(128 + self._number)


def _open_editor(file: Path, end: _End) -> None:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    editor = None
    try:
        end.hold()
        editor = subprocess.Popen([*words, str(file)])
        end.release()
        code = editor.wait()
    except OSError as error:
        raise Refused(
            f"{words[0]}: {error.strerror}. Nothing was saved. Name an editor in the environment variable EDITOR"
        ) from None
    except SystemExit:
        if editor:
            editor.kill()
            editor.wait()
        raise
    finally:
        end.release()
    if code != 0:
        raise Refused(f"the editor exited with code {code}. Nothing was saved")


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    """Yield a private folder in memory, where the editor can also put its swap files, and remove it at the end.

    Folders that killed commands have left behind are removed first.
    """
    if not MEMORY.is_dir():
        raise Refused(f"{MEMORY} is missing. Without it, the decrypted secrets would be written to a disk")
    begin = f"plainstack-secrets-{os.getuid()}-"
    for left in MEMORY.glob(f"{begin}*"):
        if not _alive(left.name.removeprefix(begin).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{begin}{os.getpid()}-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _signals() -> Iterator[_End]:
    """Leave Ctrl-C to the editor, and make SIGTERM and SIGHUP end the command only after the folder is removed."""
    end = _End()

    def for_the_editor(_number: int, _frame: FrameType | None) -> None:
        return None

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, for_the_editor),
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, end),
    }
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
