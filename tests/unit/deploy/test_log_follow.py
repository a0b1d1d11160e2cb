"""Following journals through a real sshd: a reconnect loses and repeats no entry, and no process is left behind."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from plainstack.deploy.journal import until_input_ends
from plainstack.deploy.log_follow import Follower
from plainstack.ssh.connections import Sessions
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.programs, sshd.needed]


class Journal:
    """A file that stands in for a host's journal: each line is an entry, and its line number is the cursor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()
        self.written = 0

    def write(self, count: int) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            for _ in range(count):
                self.written += 1
                data = {"__REALTIME_TIMESTAMP": self.written, "__CURSOR": str(self.written), "MESSAGE": self.written}
                file.write(json.dumps(data) + "\n")

    def follow(self, cursor: str) -> str:
        return until_input_ends(f"tail --lines=+{int(cursor or 0) + 1} --follow {self.path}")

    def readers(self) -> list[int]:
        """Return the process IDs of the programs that are reading the file."""
        return [pid for pid in _processes() if f"{self.path}" in _words(pid) and _words(pid)[0] == "tail"]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return [""]


class Screen:
    """The messages of entries, and the notes, in the order in which they were shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.notes: list[str] = []


@contextmanager
def following(server: Server, folder: Path, journal: Journal) -> Iterator[Screen]:
    """Follow a journal on the server until the `with` block ends; yield what is shown."""
    screen, over = Screen(), threading.Event()
    with Sessions(server.stack(folder)) as sessions:
        follower = Follower(
            sessions, {"db1": journal}, {"db1": ""}, lambda one: screen.shown.append(one.message), screen.notes.append
        )
        thread = threading.Thread(target=follower.run, args=(over.is_set,))
        thread.start()
        yield screen
        over.set()
        thread.join(PATIENCE)


def noted(screen: Screen, count: int) -> bool:
    return len(screen.notes) == count


def numbers(journal: Journal) -> list[str]:
    return [str(number + 1) for number in range(journal.written)]


def test_entries_are_printed_as_they_arrive(server: Server, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(3)
    with following(server, tmp_path / "stack", journal) as screen:
        until(lambda: len(screen.shown) == 3)
        journal.write(2)
        until(lambda: len(screen.shown) == 5)
    assert (screen.shown, screen.notes) == (numbers(journal), [])


def test_after_a_lost_connection_no_entry_is_lost_or_repeated_and_the_loss_is_reported_once(
    server: Server, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(1)
    with following(server, tmp_path / "stack", journal) as screen:
        until(lambda: len(screen.shown) == 1)
        for _ in range(2):
            until(lambda: len(journal.readers()) == 1)
            wanted = len(screen.notes) + 2
            os.kill(_server_of(journal.readers()[0]), signal.SIGKILL)
            journal.write(400)
            until(partial(noted, screen, wanted))
            journal.write(1)
            until(lambda: len(screen.shown) >= journal.written)
    assert screen.shown == numbers(journal)
    assert [note.partition(":")[0] for note in screen.notes] == ["db1"] * 4
    assert screen.notes[0].endswith("; its entries will be shown when it is back")
    assert screen.notes[1] == "db1: is back"


def test_nothing_keeps_running_on_the_host(server: Server, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with following(server, tmp_path / "stack", journal):
        until(journal.readers)
    until(lambda: not journal.readers())


def _server_of(pid: int) -> int:
    """Return the sshd process of the connection that started a program."""
    while not _words(pid)[0].startswith("sshd"):
        pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        assert pid > 1
    return pid


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
