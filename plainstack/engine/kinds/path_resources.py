"""Files, directories, links, and paths that must be absent, as resources."""

from __future__ import annotations

import hashlib

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.kind import Resource
from plainstack.engine.kinds.path_state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory(Resource):
    """A directory with its mode and owner; it is removed only if it is empty.

    With `purge` it is removed with all its contents, provided that Plainstack created it. Version 0.1.0 did not record
    who created a directory: one from that version counts as Plainstack's if it contains only names in `layout`.
    """

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    purge: bool = False
    layout: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"directory {self.path}"

    def wanted(self) -> State:
        return State("directory", f"{self.mode:04o}", f"{self.owner}:{self.group}")

    @property
    def goes_ahead(self) -> bool:
        return True

    @property
    def file(self) -> File | None:
        return None

    @property
    def rights(self) -> tuple[str, ...]:
        return (self.path, f"{self.mode:04o}", self.owner, self.group)

    def place(self, _number: str) -> tuple[str, ...]:
        return ("make_directory", *self.rights)

    def shade(self, _number: str) -> tuple[str, ...]:
        return ("shade_dir", *self.rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Resource):
    """A file with its complete content; `early` files are written before packages are installed.

    The content of a `secret` file is never shown in a diff. An `ahead` file is written before the `ahead` commands
    run; see Command. A `vital` file, without which a host does not work, stays at a teardown unless the host knows what
    was there before.
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False
    early: bool = False
    ahead: bool = False
    vital: bool = False

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def wanted(self) -> State:
        return State("file", f"{self.mode:04o}", f"{self.owner}:{self.group}", self.sha256)

    @property
    def goes_ahead(self) -> bool:
        return self.ahead

    @property
    def file(self) -> File | None:
        return self

    @property
    def rights(self) -> tuple[str, ...]:
        return (self.path, f"{self.mode:04o}", self.owner, self.group)

    def place(self, number: str) -> tuple[str, ...]:
        return ("put", number, *self.rights)

    def shade(self, number: str) -> tuple[str, ...]:
        return ("shade_put", number, *self.rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Resource):
    """A symbolic link; for `vital`, see File."""

    path: str
    target: str
    vital: bool = False

    @property
    def key(self) -> str:
        return f"link {self.path}"

    def wanted(self) -> State:
        return State("link", target=self.target)

    @property
    def goes_ahead(self) -> bool:
        return False

    @property
    def file(self) -> File | None:
        return None

    @property
    def rights(self) -> tuple[str, ...]:
        return (self.path,)

    def place(self, number: str) -> tuple[str, ...]:
        return ("make_link", number, self.path, self.target)

    def shade(self, _number: str) -> tuple[str, ...]:
        return ("shade_link", self.path, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent(Resource):
    """A path that must not exist, such as a file that a package ships; a directory at the path is left alone."""

    path: str

    @property
    def key(self) -> str:
        return f"absent {self.path}"
