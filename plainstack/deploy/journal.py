"""Journals of hosts: the journalctl commands that read them, and the entries, which are safe to print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from plainstack.dataclass import dataclass

_FIELDS = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "_SYSTEMD_UNIT", "UNIT")
_OURS = "plainstack-"
_LEAST_SEVERE = 7

# The first line of the output is the last entry of the whole journal, where `follow` can start. The selected entries
# come after it.
_LAST = """\
printf '%s\\n' "$(journalctl --no-pager --quiet --lines=1 --output=json --output-fields=PRIORITY)"
{entries}
"""

_UNTIL_INPUT_ENDS = """\
exec 3<&0
{command} </dev/null 3<&- &
program=$!
{{ cat <&3 >/dev/null; kill $program; }} 2>/dev/null &
wait $program
"""


@dataclass(frozen=True)
class Query:
    """A selection of a host's journal entries; `since` and `grep` are values of journalctl's options."""

    units: tuple[str, ...]
    since: str = ""
    grep: str = ""

    def last(self, lines: int | None) -> str:
        """Return a script that prints, as JSON, the journal's last entry and then the selected entries.

        `lines` limits them to the last ones; None means all.
        """
        return _LAST.format(entries=self._ask(*([f"--lines={lines}"] if lines else [])))

    def follow(self, cursor: str) -> str:
        """Return a script that prints the entries after `cursor` as they arrive, until its input ends.

        Without a cursor, it prints only entries that are written from now on.
        """
        begin = ["--no-tail", f"--after-cursor={cursor}"] if cursor else ["--lines=0"]
        return until_input_ends(self._ask("--follow", *begin))

    def _ask(self, *more: str) -> str:
        words = [
            "journalctl",
            "--no-pager",
            "--quiet",
            "--all",
            "--output=json",
            f"--output-fields={','.join(_FIELDS)}",
        ]
        words += [f"--unit={unit}" for unit in self.units]
        words += [f"--since={self.since}"] if self.since and "--follow" not in more else []
        words += [f"--grep={self.grep}"] if self.grep else []
        return shlex.join([*words, *more])


@dataclass(frozen=True)
class Entry:
    """An entry of a host's journal; `at` is in microseconds since the epoch by the host's clock.

    `cursor` is the entry's place in that journal. `message` may have several lines, and is safe to print.
    """

    host: str
    at: int
    cursor: str
    unit: str
    program: str
    pid: str
    priority: int
    message: str

    @property
    def time(self) -> str:
        """The time in UTC, with milliseconds."""
        moment = datetime.fromtimestamp(self.at / 1e6, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{self.at // 1000 % 1000:03}Z"

    @property
    def source(self) -> str:
        """The author of the message: the unit, a program outside any unit, or systemd writing about a unit."""
        name = self.program if self.program == "systemd" or not self.unit else short(self.unit)
        return f"{name}[{self.pid}]" if self.pid else name

    def lines(self) -> list[str]:
        """Return the entry as lines of text, without the host's name; lines after the first are indented."""
        first, *rest = self.message.split("\n")
        return [f"{self.time} {self.source}: {first}", *(f"{'':24}   {line}" for line in rest)]

    def as_data(self) -> dict[str, object]:
        """Return the entry as a JSON object."""
        known = ("host", "unit", "program", "pid", "priority", "message")
        return {"at": self.time, **{name: getattr(self, name) for name in known}}


def until_input_ends(command: str) -> str:
    """Return a script that runs a command and kills it when the input of the script ends.

    The input ends when the operator stops the run or the connection is lost.
    """
    return _UNTIL_INPUT_ENDS.format(command=command)


def short(unit: str) -> str:
    """Return the short name of a unit: `web` for plainstack-web.service."""
    return unit.removesuffix(".service").removeprefix(_OURS)


def parse_last(host: str, text: str, *, searched: bool = False) -> tuple[str, list[Entry]]:
    """Parse the output of Query.last; return the cursor at which to start following, and the entries in order.

    The cursor is "" if the journal is empty. `searched` is true if the query had a pattern.
    """
    head, _, rest = text.partition("\n")
    end = parse(host, head)
    entries = [entry for line in rest.split("\n") if (entry := parse(host, line))]
    # With a pattern and a number of lines, journalctl searches backwards, and prints the newest entry first.
    if searched and entries and entries[0].at > entries[-1].at:
        entries.reverse()
    last = entries[-1] if entries else end
    return (last.cursor if last else ""), entries


def parse(host: str, line: str) -> Entry | None:
    """Parse a line of journalctl's JSON output; return None if it is no entry."""
    try:
        data: Mapping[str, Any] = json.loads(line)
        at = int(data["__REALTIME_TIMESTAMP"])
    except (ValueError, KeyError, TypeError):
        return None
    priority = _one(data.get("PRIORITY"))
    return Entry(
        host=host,
        at=at,
        cursor=str(data.get("__CURSOR", "")),
        unit=_one(data.get("UNIT")) or _one(data.get("_SYSTEMD_UNIT")),
        program=_one(data.get("SYSLOG_IDENTIFIER")) or _one(data.get("_COMM")) or "-",
        pid=_one(data.get("_PID")),
        priority=int(priority) if priority in "01234567" and priority else _LEAST_SEVERE,
        message=_message(data.get("MESSAGE")),
    )


def _one(value: object) -> str:
    """Return the value of a field as one line; of a field with several values, the first."""
    first = value[0] if isinstance(value, list) and value and not isinstance(value[0], int) else value
    return _safe(_text(first).replace("\n", " "))


def _message(value: object) -> str:
    several = isinstance(value, list) and any(not isinstance(item, int) for item in value)
    parts = value if isinstance(value, list) and several else [value]
    lines = "\n".join(_text(part) for part in parts).rstrip("\r\n").split("\n")
    return "\n".join(_safe(line.removesuffix("\r")) for line in lines)


def _text(value: object) -> str:
    """Return a value of journalctl's JSON as text; journalctl prints unprintable text as a list of byte values."""
    if isinstance(value, list):
        return bytes(value).decode(errors="backslashreplace")
    return "" if value is None else str(value)


def _safe(line: str) -> str:
    """Escape the characters of a line that could move a terminal's cursor or change its colours."""
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() or letter in "\t\xa0" else _escaped(letter) for letter in line)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
