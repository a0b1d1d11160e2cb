"""Reads the file of pinned host keys, in OpenSSH's known_hosts format, and replaces keys in it."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from plainstack.dataclass import dataclass
from plainstack.errors import Refused


def entry_name(address: str, port: int) -> str:
    """Return a host's name in a known_hosts file."""
    return address.lower() if port == 22 else f"[{address.lower()}]:{port}"


@dataclass(frozen=True)
class Pins:
    """The lines of a file of pinned keys; `path` is used in messages."""

    path: Path
    lines: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Pins:
        """Read the pins of a file; a missing file has none. Raises Refused if it cannot be read."""
        try:
            return cls(path, tuple(path.read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            return cls(path)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{path}: the pinned host keys cannot be read: {error}") from None

    def keys(self, entry: str) -> dict[str, paramiko.PKey]:
        """Return the keys pinned for a host, by type; if a type is pinned twice, the first counts.

        Raises Refused, with the line, for an invalid key.
        """
        found: dict[str, paramiko.PKey] = {}
        for number, line in enumerate(self.lines, 1):
            names, fields = _parse(line)
            if not any(_matches(name, entry) for name in names):
                continue
            try:
                key = paramiko.PKey.from_type_string(fields[0], base64.b64decode(fields[1], validate=True))
            except UnknownKeyType:
                continue
            except (paramiko.SSHException, binascii.Error, ValueError, IndexError) as error:
                raise Refused(
                    f"{self.path}:{number}: not a host key ({error}). Remove the line, then run: inv trust"
                ) from None
            found.setdefault(key.get_name(), key)
        return found

    def expected(self, entry: str, offered: paramiko.PKey) -> paramiko.PKey | None:
        """Return the pinned key to compare an offered key with; None if the host is not pinned."""
        keys = self.keys(entry)
        return keys.get(offered.get_name()) or next(iter(keys.values()), None)

    def replaced(self, new: Mapping[str, paramiko.PKey]) -> str:
        """Return the file's text with these keys in place of all other keys of the same hosts; other lines stay."""
        kept = []
        for line in self.lines:
            names, fields = _parse(line)
            others = [name for name in names if not any(_matches(name, entry) for entry in new)]
            if len(others) == len(names):
                kept.append(line)
            elif others:
                kept.append(" ".join([",".join(others), *fields]))
        lines = [*kept, *(f"{entry} {key.get_name()} {key.get_base64()}" for entry, key in new.items())]
        return "".join(f"{line}\n" for line in lines)


def _parse(line: str) -> tuple[list[str], list[str]]:
    """Return the names of a line and its other fields; comments, @marker lines and incomplete lines have no names."""
    fields = line.split()
    if len(fields) < 3 or fields[0].startswith(("#", "@")):
        return [], fields
    return fields[0].split(","), fields[1:]


def _matches(name: str, entry: str) -> bool:
    if not name.startswith("|"):
        return name.lower() == entry
    # A hashed name (HashKnownHosts) is |1|salt|HMAC-SHA1, see sshd(8).
    parts = name.split("|")
    try:
        salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (IndexError, binascii.Error, ValueError):
        return False
    return parts[1] == "1" and hmac.compare_digest(hmac.digest(salt, entry.encode(), "sha1"), digest)
