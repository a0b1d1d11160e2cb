"""Actions: changes to a host, as shown in a plan and as steps of a transaction."""

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
    """The order of actions within one role: accounts before the files they own, directories before their contents."""

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
    """A change to one host, with its cause and the difference; each type of change is a frozen dataclass."""

    __slots__ = ()

    counted: ClassVar[str] = ""
    """The noun that summaries count the action under, in the singular; "" if summaries leave it out."""
    rank: ClassVar[Rank | None] = None
    """The rank of the action, if it differs from that of its kind."""

    if TYPE_CHECKING:

        @property
        def cause(self) -> Cause: ...

        @property
        def detail(self) -> str: ...

    @abstractmethod
    def subject(self) -> str:
        """Return the description of the action that plans, progress output and the audit log show."""

    @abstractmethod
    def steps(self, number: str, bundle: Bundle) -> None:
        """Add the steps of the action, and the files they need, to the bundle.

        `number` keeps the file names apart from those of other actions.
        """

    @property
    def word(self) -> str:
        """The name of the action in machine-readable output."""
        return type(self).__name__.lower()

    @property
    def count(self) -> int:
        return 1

    @property
    def hidden(self) -> bool:
        """Whether plans leave the action out."""
        return False

    @property
    def ahead(self) -> bool:
        """Whether the action may run before the role's hosts take their turns."""
        return False

    @property
    def patience(self) -> int:
        """The time limit of the action in seconds; 0 if it has none."""
        return 0

    @property
    def touches(self) -> tuple[str, ...]:
        """The paths that the action writes or removes and that units and validations may read."""
        return ()

    @property
    def new_file(self) -> File | None:
        """The file that the bundle carries as new/NUMBER, with its mode and owner; None if there is none."""
        return None

    def shade(self, _number: str) -> str:
        """Return the shell command that applies the action to a validation's preview of /etc."""
        return ":"

    @property
    def asks(self) -> str:
        """The path of the file whose old content `diff` needs; "" if it needs none."""
        return ""

    def diff(self, _old: Mapping[str, bytes]) -> list[str]:
        """Return the lines of the content diff, without secrets; `old` maps paths to their current contents."""
        return []
