"""What a role declares about a secret: its name, the origin of its value, and how the value is replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.secrets.rotation import RotationStrategy

LENGTHS = (16, 512)
# The maximum length of a value, in bytes.
LONGEST = 64 << 10
# crypt(3) refuses longer passwords, so no login would succeed (CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt, with a NUL).
_LONGEST_PASSWORD = 511
# RFC 7617, 2.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Characters that need no quoting in a password file, an environment file, a header or a URL.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{20,128}")
# ROLE/NAME in lower case, or SERVICE/NAME where NAME is the name of an environment variable.
_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_-]+)*|[a-z0-9][a-z0-9_-]*/[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Generated:
    """A random value of `length` characters, generated when it is first needed.

    A person may replace it: with any text if `any_text` is set, otherwise only with characters that need no quoting in
    a password file, a header or a URL. `password` restricts any text to what users can log in with over HTTP. Raises
    ValueError if the length is out of range.
    """

    length: int = 32
    any_text: bool = False
    password: bool = False

    def __post_init__(self) -> None:
        least, most = LENGTHS
        if not least <= self.length <= most:
            raise ValueError(f"a generated secret has {least} to {most} characters, not {self.length}")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a person sets. If `form` is not empty, it is the regular expression that a value must match.

    `described` says what such a value is, worded to follow "must be".
    """

    form: str = ""
    described: str = ""


@dataclass(frozen=True, slots=True)
class FromCommand:
    """A value that a shell command line prints on the operator's machine."""

    line: str


Origin = Generated | Given | FromCommand


def unfit(value: str, origin: Origin) -> str:
    """Return why a secret cannot have a value, worded to follow its name; empty if it can."""
    if isinstance(origin, Generated) and not origin.any_text and not _TOKEN.fullmatch(value):
        return "must have 20 to 128 characters of A-Z a-z 0-9 . _ ~ + / = - and no others"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "must be UTF-8 text"
    if not value:
        return "must not be empty"
    if "\0" in value:
        return "must not contain a NUL character"
    if isinstance(origin, Given) and origin.form and not re.fullmatch(origin.form, value):
        return f"must be {origin.described}"
    if isinstance(origin, Generated) and origin.password:
        if _CONTROL.search(value):
            return "must not contain line breaks and other control characters: nobody can type them"
        if len(value.encode()) > _LONGEST_PASSWORD:
            return f"must not have more than {_LONGEST_PASSWORD} bytes, the limit of crypt(3)"
    if len(value.encode()) > LONGEST:
        return f"must not have more than {LONGEST:,} bytes"
    return ""


@dataclass(frozen=True, slots=True)
class DeclaredSecret:
    """A secret of a role or a service; for `rotation` see plainstack.secrets.rotation.

    Raises ValueError if the name is not valid.
    """

    name: str
    rotation: RotationStrategy = "at once"
    origin: Origin = Generated()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"a secret cannot be called {self.name!r}: use lower-case letters, digits, _ and -, as in"
                " cache/password, or SERVICE/VARIABLE, as in web/API_KEY"
            )


@dataclass(frozen=True)
class Needed:
    """The secrets that a stack's roles declare, and their certificates, each with the names that it is issued for."""

    secrets: tuple[DeclaredSecret, ...] = ()
    certificates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
