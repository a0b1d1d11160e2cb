"""The state of a path, in one form for the desired state, the observed state and the manifest."""

from __future__ import annotations

from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.engine.observed import Entry, PathState

_PURGE = " purge"
_LINK = "-> "


@dataclass(frozen=True, slots=True)
class State:
    """The state of a path: absent, a link with its target, or anything else with its mode and owner.

    `sha256` is set for regular files only.
    """

    kind: Literal["absent", "link", "file", "directory", "special file"]
    mode: str = ""
    owner: str = ""
    sha256: str = ""
    target: str = ""

    @classmethod
    def seen(cls, path: PathState | None) -> State:
        """Return the state of a path as the probe saw it."""
        if path is None:
            return ABSENT
        if path.kind == "link":
            return cls("link", target=path.target)
        rights = f"{path.mode:04o}", f"{path.owner}:{path.group}"
        if path.kind == "file":
            return cls("file", *rights, path.sha256)
        return cls("directory" if path.kind == "directory" else "special file", *rights)

    @classmethod
    def parse(cls, text: str) -> State:
        """Parse a manifest state; unknown text becomes a file that equals no other state."""
        if text == "absent":
            return ABSENT
        if text.startswith(_LINK):
            return cls("link", target=text.removeprefix(_LINK))
        what, mode, owner = [*text.rsplit(" ", 2), "", ""][:3]
        match what:
            case "directory" | "special file":
                return cls(what, mode, owner)
            case _:
                return cls("file", mode, owner, what)

    def __str__(self) -> str:
        if self.kind == "absent":
            return self.kind
        if self.kind == "link":
            return f"{_LINK}{self.target}"
        return f"{self.sha256 if self.kind == 'file' else self.kind} {self.mode} {self.owner}"

    def became(self, now: State) -> str:
        """Describe how the state `now` differs from this one."""
        if now.kind == "absent":
            return "was removed"
        if "link" in (self.kind, now.kind) or self.kind == "absent":
            return f"was {self}, is {now}"
        changes = []
        if self.kind != now.kind:
            changes.append(f"is a {now.kind} now")
        elif self.sha256 != now.sha256:
            changes.append("content changed")
        if self.mode != now.mode:
            changes.append(f"mode {self.mode} became {now.mode}")
        if self.owner != now.owner:
            changes.append(f"owner {self.owner} became {now.owner}")
        return ", ".join(changes)


ABSENT = State("absent")


@dataclass(frozen=True, slots=True)
class Left:
    """The manifest's record of a path: its state, and whether a directory is removed with its contents."""

    state: State
    purge: bool = False

    @classmethod
    def of(cls, entry: Entry) -> Left:
        if entry.state.startswith("directory ") and entry.state.endswith(_PURGE):
            return cls(State.parse(entry.state.removesuffix(_PURGE)), purge=True)
        return cls(State.parse(entry.state))

    def __str__(self) -> str:
        return f"{self.state}{_PURGE if self.purge else ''}"
