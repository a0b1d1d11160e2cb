"""The files of nginx's cache: what each holds, and how it is made unusable.

A file begins with a header in the layout of nginx's ngx_http_file_cache_header_t, version 5: seven 64-bit fields, of
which the first four are the version, the end of validity, and for how long after it the response may be used during an
update and after an error, as the response itself says (RFC 5861). The key follows in a line of its own. Angie's files
are the same.

A file is made unusable by the version 0, which nginx takes for an older version's file: it fetches the response again
and replaces the file, or removes it when it has not been requested for some time. If another program deleted the file,
nginx would report a critical error when it comes to remove it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_TIMES = struct.Struct("=QqqQ")
_KEY = b"\nKEY: "
_VERSION = 5
# The end of the key must be within the first 64 KB, because nginx stores its place as a 16-bit number.
_READ, _MOST = 2048, 65536
_NAME = 32
# RFC 3986: what a URI may contain unescaped, and what means the same if it is escaped.
_IN_A_URI = "/?:@!$&'()*+,;=-._~%"
_PLAIN = re.compile(r"[A-Za-z0-9/?:@!$&'()*+,;=._~-]*")
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")


@dataclass(frozen=True)
class Entry:
    """A stored response: the parts of its key, and until when it is valid, in seconds since 1970.

    `allowed` is for how many seconds after that the response says that it may be used.
    """

    route: str
    host: str
    uri: str
    valid: int
    allowed: int

    @property
    def name(self) -> str:
        """The name in the URL, without a port."""
        return self.host.rpartition(":")[0] if ":" in self.host else self.host

    def selected(self, routes: Sequence[str], name: str, path: str, *, prefix: bool) -> bool:
        """Return whether it is of one of the routes (none: of any), under the name, and at the path; empty for any."""
        if (routes and self.route not in routes) or (name and not _covers(name, self.name)):
            return False
        uri, path = spelled(self.uri), spelled(path)
        if not path or prefix:
            return uri.startswith(path)
        return path == (uri if "?" in path else uri.partition("?")[0])


def spelled(uri: str) -> str:
    """Return the usual spelling of a URI: some clients escape characters that others send as they are, such as `[`."""
    if _PLAIN.fullmatch(uri):
        return uri
    return _ESCAPED.sub(_as_usual, quote(uri, _IN_A_URI, errors="surrogateescape"))


def entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield the files with responses below a folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for each in found:
            if each.is_dir(follow_symlinks=False):
                yield from entries(each.path)
            elif len(each.name) == _NAME:
                yield each


def read(path: str) -> Entry | None:
    """Return what a file holds; None if it is gone or unusable."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(_READ)
            if _KEY in start and b"\n" not in start[start.index(_KEY) + len(_KEY) :]:
                start += file.read(_MOST - _READ)
    except FileNotFoundError:
        return None
    if len(start) < _TIMES.size or _KEY not in start:
        return None
    version, valid, updating, error = _TIMES.unpack_from(start)
    parts = start.partition(_KEY)[2].partition(b"\n")[0].decode("utf-8", "surrogateescape").split(" ", 4)
    if version != _VERSION or len(parts) != 5:
        return None
    route, _scheme, _method, host, uri = parts
    return Entry(route, host, uri, valid, max(0, updating, error))


def spoil(path: str) -> bool:
    """Make a file unusable; return whether it was there. A response that is being sent is not affected."""
    try:
        file = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        os.pwrite(file, bytes(8), 0)
    finally:
        os.close(file)
    return True


def purge(folder: str, routes: Sequence[str], name: str, path: str, *, prefix: bool) -> int:
    """Make the selected responses unusable, in all their variants; return their number."""
    count = 0
    for file in entries(folder):
        entry = read(file.path)
        if entry and entry.selected(routes, name, path, prefix=prefix) and spoil(file.path):
            count += 1
    return count


def sweep(folder: str, stale: Mapping[str, int], now: float) -> tuple[int, int]:
    """Make the responses unusable that are too old to be used; return their number, and the bytes of all files.

    `stale` holds, by route, for how many seconds a response may be used that is no longer valid. Responses of other
    routes are no longer used at all.
    """
    count = size = 0
    soonest = min(stale.values(), default=0)
    for file in entries(folder):
        try:
            found = file.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        size += found.st_blocks * 512
        # It was valid when it was written.
        if found.st_mtime + soonest > now:
            continue
        entry = read(file.path)
        if entry and entry.valid + max(entry.allowed, stale.get(entry.route, 0)) < now and spoil(file.path):
            count += 1
    return count, size


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])


def _as_usual(escaped: re.Match[str]) -> str:
    character = chr(int(escaped[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escaped[0].upper()
