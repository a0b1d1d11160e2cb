"""The reason why a check failed, as a sentence; an error in the check itself is reported with its file and line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from plainstack.errors import PlainstackError

# Such as "Use -v to get more diff" and "...Full output truncated (3 lines hidden), use '-vv' to show".
_ADVICE = re.compile(r"\b[Uu]se '?-v+\b")

# Returns the path to show for a file; None if the file is not a check.
Shown = Callable[[Path], str | None]


def of_call(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, shown: Shown) -> str:
    """Return why this phase of a check failed."""
    if call.excinfo is None:  # an xfail(strict=True) that passed
        return str(report.longrepr)
    error = call.excinfo.value
    expected = isinstance(error, AssertionError | pytest.fail.Exception | PlainstackError)
    if expected and call.when == "call":
        return _text(error)
    path, line, _ = item.reportinfo()
    place = f"{shown(Path(path)) or path}:{(line or 0) + 1}"
    return f"{_place(error, shown) or place}: {_text(error) if expected else _named(error)}"


def of_module(error: BaseException, path: Path, shown: Shown) -> str:
    """Return why a file of checks, or a conftest.py, cannot be read."""
    # Pytest wraps the original exception in one of its own.
    error = error.__cause__ or error
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(Path(error.filename)) or error.filename}:{error.lineno}: {error.msg}"
    return f"{_place(error, shown) or f'{shown(path) or path}:1'}: {_named(error)}"


def _place(error: BaseException, shown: Shown) -> str:
    """Return the innermost line of a check in the error's traceback."""
    places = [
        f"{name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if (name := shown(Path(frame.f_code.co_filename)))
    ]
    return places[-1] if places else ""


def _named(error: BaseException) -> str:
    if isinstance(error, pytest.FixtureLookupError):
        return error.msg or f"there is no fixture {error.argname!r}"
    if isinstance(error, pytest.Collector.CollectError | pytest.UsageError):
        return _text(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _text(error: BaseException) -> str:
    """Return what an error says, without pytest's advice about its own options.

    Pytest adds the values of an assertion's expression to its message. A check with a message has said it all.
    """
    message, _, values = str(error).strip().partition("\nassert ")
    if isinstance(error, AssertionError) and values and not message.startswith("assert "):
        # Pytest indents the further lines of a message.
        return message.replace("\n  ", "\n")
    lines = [line for line in str(error).strip().splitlines() if not _ADVICE.search(line)]
    return "\n".join(lines).strip() or type(error).__name__
