"""The types of the values in `services`: how each is written, and how errors describe it."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from plainstack.inventory import references
from plainstack.inventory.values import Int

# Set by Plainstack for every service, so an inventory cannot set them.
RESERVED = ("RELEASE", "STATIC_ROOT", "INVOCATION_ID", "MAINPID", "NOTIFY_SOCKET")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
DEBIANS_PYTHON = "3.13"
_LONGEST_VALUE = 65536


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("the name of an environment variable: letters, digits and '_', not beginning with a digit")
    if name in RESERVED:
        raise ValueError(f"another name: {name} is set by Plainstack or systemd")
    return name


def _text(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("text or a whole number")
    if "\0" in value:
        raise ValueError("text without NUL")
    if len(value) > _LONGEST_VALUE:
        raise ValueError(f"at most {_LONGEST_VALUE:,} characters long")
    references.parts(value)
    return value


def _shell_line(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip() or any(ord(char) < 32 for char in value):
        raise ValueError("a command on one line")
    if len(value) > 4096:
        raise ValueError("at most 4,096 characters long")
    return value


def _command(value: Any) -> Any:
    _shell_line(value)
    references.parts(value)
    words = _words(value)
    if words is None:
        raise ValueError("a command whose quotes are closed")
    if any(word in ("|", "&&", "||", ";", ">", "<", "&") for word in words):
        raise ValueError("a program and its arguments; systemd runs it without a shell, so write: sh -c '...'")
    return value


# The processes of a service are built many times in a run, always with the same few commands.
@lru_cache(256)
def _words(command: str) -> tuple[str, ...] | None:
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return None


def _calendar(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9*:,./~ -]{1,100}", value):
        raise ValueError("times as in systemd.time(7), such as daily or Mon..Fri 03:00")
    return value


def _inner_path(value: Any) -> Any:
    pattern = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError("a path inside the source without '..', such as media or var/uploads")
    return value


def _target(value: Any) -> Any:
    part = r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+"
    if not isinstance(value, str) or len(value) > 200 or not re.fullmatch(f"{part}(/{part})*", value):
        raise ValueError("a path inside the source without '..', such as conf/configuration.py")
    return value


def _python(value: Any) -> Any:
    version = r"3\.(9|1[0-9])"
    if isinstance(value, str) and re.fullmatch(rf"{version}(\.(0|[1-9][0-9]?))?", value):
        return value
    if isinstance(value, str) and re.fullmatch(rf"(/[A-Za-z0-9._-]+)+/python{version}", value):
        if re.match(r"/(home|root|tmp|run/user)/", value) or "/../" in value:
            raise ValueError("a path that services can read, which those below /home, /root and /tmp are not")
        return value
    raise ValueError(
        f'a version in quotes ("{DEBIANS_PYTHON}" for Debian\'s Python, "3.12" or "3.12.7" for one that uv downloads),'
        " or the path of a Python on the hosts that ends with its version, such as /opt/python3.12/bin/python3.12"
    )


EnvironmentName = Annotated[str, AfterValidator(_variable)]
EnvironmentValue = Annotated[str, BeforeValidator(_text)]
CommandLine = Annotated[str, BeforeValidator(_command)]
ShellLine = Annotated[str, BeforeValidator(_shell_line)]
Calendar = Annotated[str, BeforeValidator(_calendar)]
InnerPath = Annotated[str, BeforeValidator(_inner_path)]
PythonChoice = Annotated[str, BeforeValidator(_python)]
TargetPath = Annotated[str, BeforeValidator(_target)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
Status = Annotated[Int, Field(ge=100, le=599)]
Seconds = Annotated[Int, Field(ge=1, le=3600)]
HookSeconds = Annotated[Int, Field(ge=1, le=86400)]
DebianPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$", max_length=100)]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[MG]$")]
