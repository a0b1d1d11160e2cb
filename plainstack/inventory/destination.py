"""A destination as ssh takes it, for the jump hosts in the inventory and in the operator's SSH configuration."""

from __future__ import annotations

import re

from plainstack.dataclass import dataclass
from plainstack.errors import Refused


@dataclass(frozen=True)
class Destination:
    """A machine as written by the operator: [user@]host[:port], with brackets around an IPv6 address, or ssh://..."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        user, port = self.user and f"{self.user}@", f":{self.port}" if self.port else ""
        return f"{user}[{self.host}]{port}" if ":" in self.host else f"{user}{self.host}{port}"

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Parse a destination. Raises Refused if the text is not one."""
        match = _DESTINATION.fullmatch(text.strip())
        if not match or int(match["port"] or 1) not in range(1, 65536):
            raise Refused(f"{text!r} is not a jump host: write [user@]host[:port]")
        return cls(match["ip"] or match["host"], match["user"] or "", int(match["port"] or 0))


_DESTINATION = re.compile(
    r"(ssh://)?((?P<user>[^\s,]+)@)?(\[(?P<ip>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^-@:\[\]/\s,][^@:\[\]/\s,]*))(:(?P<port>\d{1,5}))?/?"
)
