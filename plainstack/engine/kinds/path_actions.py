"""Actions on files, directories and links."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause
from plainstack.engine.observed import Entry, PathState
from plainstack.wording import counted

if TYPE_CHECKING:
    from plainstack.engine.kinds.path_resources import Directory, File, Link
    from plainstack.engine.transaction.bundle import Bundle

SHOWN_DIFF_LINES = 60

Differs = Literal["missing", "rights", "target", "content", "kind"]


@dataclass(frozen=True, slots=True)
class Put(Action):
    """Create or change a file, directory or link; `seen` is its current state, None if it is missing.

    `foreign` is true if Plainstack did not write what is there: the host keeps it, so that a teardown can restore it.
    """

    resource: File | Directory | Link
    cause: Cause
    seen: PathState | None
    foreign: bool = False

    counted: ClassVar[str] = "file"

    @property
    def differs(self) -> Differs:
        """The difference at the path; "rights" (mode or owner) only if kind and content are as wanted."""
        if self.seen is None:
            return "missing"
        wanted = self.resource.wanted()
        if wanted.kind == "link":
            return "target"
        if self.seen.kind != wanted.kind:
            return "kind"
        return "rights" if self.seen.sha256 == wanted.sha256 else "content"

    @property
    def attributes(self) -> bool:
        """Whether only the mode or the owner differs."""
        return self.differs == "rights"

    @property
    def detail(self) -> str:
        seen, item = self.seen, self.resource
        if seen is None:
            return "missing"
        wanted, found = item.wanted(), type(item.wanted()).seen(seen)
        if self.differs == "target":
            return f"{found} becomes {wanted}"
        if self.differs == "rights":
            return f"{found.mode} {found.owner} -> {wanted.mode} {wanted.owner}"
        return "content differs" if self.differs == "content" else f"is a {seen.kind}"

    def subject(self) -> str:
        return f"{'set mode and owner of' if self.attributes else 'write'} {self.resource.path}"

    @property
    def ahead(self) -> bool:
        return self.resource.goes_ahead

    @property
    def touches(self) -> tuple[str, ...]:
        return (self.resource.path,)

    @property
    def new_file(self) -> File | None:
        return None if self.attributes else self.resource.file

    def shade(self, number: str) -> str:
        return shlex.join(self.resource.shade(number))

    def steps(self, number: str, bundle: Bundle) -> None:
        if self.foreign:
            bundle.step(f"keep the original of {self.resource.path}", "keep_original", self.resource.path)
        if self.attributes and self.resource.file:
            # The preview of a validation needs the content.
            bundle.file(f"new/{number}", self.resource.file.content)
        verb = ("set_attributes", *self.resource.rights) if self.attributes else self.resource.place(number)
        bundle.step(self.subject(), *verb)

    @property
    def asks(self) -> str:
        file = self.resource.file
        return file.path if file and not file.secret and self.differs == "content" else ""

    def diff(self, old: Mapping[str, bytes]) -> list[str]:
        item = self.resource.file
        if item is None or self.attributes:
            return []
        if item.secret:
            return ["(the content is secret and not shown)"] if self.differs == "content" else []
        if item.path not in old:
            return []
        return unified(item.path, old[item.path], item.content)


def unified(path: str, old: bytes, new: bytes) -> list[str]:
    """Return the unified diff of a file's content, cut after SHOWN_DIFF_LINES lines."""
    before, after = (text.decode(errors="replace").splitlines() for text in (old, new))
    lines = list(difflib.unified_diff(before, after, f"{path} (on the host)", f"{path} (wanted)", lineterm=""))
    if len(lines) > SHOWN_DIFF_LINES:
        lines = [*lines[:SHOWN_DIFF_LINES], f"... and {counted(len(lines) - SHOWN_DIFF_LINES, 'more line')}"]
    return lines


@dataclass(frozen=True, slots=True)
class Remove(Action):
    """Remove a path that Plainstack wrote and no role declares any more, or one that must be absent.

    `kind` is file, link, directory (removed only if empty) or tree (a directory with all its contents).
    """

    path: str
    kind: str
    cause: Cause
    detail: str

    counted: ClassVar[str] = "removal"

    @property
    def folder(self) -> bool:
        """Whether the path is a directory."""
        return self.kind in ("directory", "tree")

    @property
    def touches(self) -> tuple[str, ...]:
        return (self.path,)

    def subject(self) -> str:
        return f"remove {self.path}"

    def shade(self, _number: str) -> str:
        return ":" if self.folder else shlex.join(["shade_remove", self.path])

    def steps(self, number: str, bundle: Bundle) -> None:
        if self.folder:
            bundle.step(self.subject(), f"remove_{self.kind}", self.path)
            return
        if self.cause == "changed":
            bundle.step(f"keep the original of {self.path}", "keep_original", self.path)
        bundle.step(self.subject(), "remove_path", number, self.path)


@dataclass(frozen=True, slots=True)
class Restore(Action):
    """Put back what was at a path before Plainstack replaced it."""

    path: str
    cause: Cause = "undeclared"
    detail: str = "as it was before Plainstack"

    counted: ClassVar[str] = "original"

    @property
    def touches(self) -> tuple[str, ...]:
        return (self.path,)

    def subject(self) -> str:
        return f"restore {self.path}"

    def steps(self, number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "bring_original", number, self.path)


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """Drop a manifest entry but leave its path alone, because the path is no longer as Plainstack left it."""

    entry: Entry
    detail: str
    cause: Cause = "undeclared"

    def subject(self) -> str:
        return f"leave {self.entry.name}"

    def steps(self, number: str, bundle: Bundle) -> None:
        """Add nothing: the manifest that the transaction writes leaves the entry out."""
