"""What a kind does to a host: one action, as a person is shown it and as steps of a transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from plainstack.engine.kinds.path_resources import File
    from plainstack.engine.transaction.bundle import Bundle

Cause = Literal["new", "changed", "drift", "owed", "undeclared", "interrupted"]


class Rank(IntEnum):
    """The order within one role: an account before what it owns, a folder before what lies in it."""

    GROUPS = 0
    ACCOUNTS = 1
    MEMBERS = 2
    FOLDERS = 3
    FILES = 4
    LINKS = 5
    ABSENT = 6
    SETTINGS = 7
    AS_NAMED = 8


class Action(ABC):
    """A change of one host, with its cause and what is different now; a frozen dataclass for each sort of change."""

    __slots__ = ()

    counted: ClassVar[str] = ""
    """What a summary counts it as, in the singular; nothing for what is not counted."""
    rank: ClassVar[Rank | None] = None
    """Where it is done, if not where its kind is."""

    if TYPE_CHECKING:

        @property
        def cause(self) -> Cause: ...

        @property
        def detail(self) -> str: ...

    @abstractmethod
    def subject(self) -> str:
        """What is done, as plan, progress and audit log tell it."""

    @abstractmethod
    def steps(self, number: str, bundle: Bundle) -> None:
        """Add the steps that do it, and what travels for them; `number` tells its files from those of others."""

    @property
    def word(self) -> str:
        """What a program is told that it is."""
        return type(self).__name__.lower()

    @property
    def count(self) -> int:
        return 1

    @property
    def hidden(self) -> bool:
        """Whether a person is not shown it."""
        return False

    @property
    def ahead(self) -> bool:
        """Whether it may be done before the role's turns."""
        return False

    @property
    def patience(self) -> int:
        """Seconds that it may take by its own limits; 0 when it has none."""
        return 0

    @property
    def touches(self) -> tuple[str, ...]:
        """The paths that it writes or removes, and that units and validations may read."""
        return ()

    @property
    def stages(self) -> File | None:
        """The file that travels as new/NUMBER, in its mode and of its owner."""
        return None

    def shade(self, number: str) -> str:  # noqa: ARG002
        """The shell command that makes it visible in a validation's preview of /etc."""
        return ":"

    @property
    def asks(self) -> str:
        """The path of the file whose old content `diff` needs; "" for none."""
        return ""

    def diff(self, old: Mapping[str, bytes]) -> list[str]:  # noqa: ARG002
        """What changes within, line by line, never with a secret; `old` are contents by path."""
        return []
