#!/usr/bin/python3 -IB
# managed by plainstack
"""Usage: health_pages.py watch | health_pages.py answers HOST

Asks the health pages of application hosts, for /etc/plainstack/balancer/upstreams. The environment variable TARGETS has
a line for each host of a service. `watch` asks again and again, takes hosts out, and puts them back. `answers` asks the
pages of one host once, and exits with 1 unless all of them show a host that works.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

ROOT = os.environ.get("ROOT", "")
STATE = Path(f"{ROOT}/run/plainstack/upstreams")
UPSTREAMS = f"{ROOT}/etc/plainstack/balancer/upstreams"
CONNECT = 0.5
REFUSED = "refuses connections"


@dataclass(frozen=True)
class Target:
    """A host of a service: ADDRESS is HOST:PORT, STATUSES are patterns, times are in seconds."""

    service: str
    host: str
    address: str
    path: str
    statuses: tuple[str, ...]
    name: str
    timeout: float
    interval: float

    @property
    def file(self) -> str:
        """The name of its files: in an `include` of the web server, the brackets of IPv6 would be a pattern."""
        return self.address.replace("[", "").replace("]", "")


def targets(text: str) -> list[Target]:
    """Return the targets of the lines of TARGETS."""
    found = []
    for line in filter(None, text.splitlines()):
        service, host, address, path, statuses, name, timeout, interval = line.split(" ")
        patterns = tuple(statuses.split(","))
        found.append(Target(service, host, address, path, patterns, name, float(timeout), float(interval)))
    return found


class Reader(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly the data arrives."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection, self.deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        self.connection.settimeout(max(self.deadline - time.monotonic(), 0.001))
        return self.connection.recv_into(cast("bytearray", buffer))

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that http.client reads a response from."""
        return io.BufferedReader(self)


def wrong(target: Target) -> str:
    """Return what is wrong with a host, for a person; nothing if it works.

    Any status but 5xx comes from an application that works, even if it does not serve this name or path.
    """
    deadline = time.monotonic() + target.timeout
    host, _, port = target.address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), min(CONNECT, target.timeout)) as connection:
            connection.sendall(_request(target))
            # http.client asks a socket only for this file.
            response = http.client.HTTPResponse(cast("socket.socket", Reader(connection, deadline)))
            response.begin()
            # A body without an end is read until the deadline.
            while response.read(1 << 16):
                if time.monotonic() > deadline:
                    raise TimeoutError
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return f"cannot be asked: {error.strerror or error}"
    except (http.client.HTTPException, ValueError) as error:
        return f"gives no valid answer ({type(error).__name__})"
    if not any(fnmatchcase(str(response.status), pattern) for pattern in target.statuses):
        return f"answers {response.status} at {target.path}"
    return ""


def _request(target: Target) -> bytes:
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.name}",
        f"X-Forwarded-Host: {target.name}",
        "X-Forwarded-Proto: https",
        "User-Agent: plainstack",
        "Accept: */*",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@dataclass
class Count:
    """Counts a host's good and failed checks, and decides when it goes out and when it comes back.

    It goes out after three failed checks, and comes back after two good ones, or more if it flaps. While it refuses
    connections, it has about ten seconds, enough for a restart: a refused request goes to another host without delay.
    """

    out: bool
    since: float
    fails: int = 0
    good: int = 0
    rise: int = 1

    def add(self, why: str, now: float) -> bool:
        """Add a check; return whether the host goes out or comes back now."""
        self.fails, self.good = (self.fails + 1, 0) if why else (0, self.good + 1)
        if not self.out and self.fails >= (40 if why == REFUSED else 3):
            # A host that was healthy for ten minutes does not flap.
            self.rise = 2 if now - self.since >= 600 else self.rise * 2 if self.rise < 40 else self.rise
            self.out = True
            return True
        if self.out and self.good >= self.rise:
            self.since = now
            self.out = False
            return True
        return False

    def pause(self, interval: float) -> float:
        """Return how many seconds to wait before the next check."""
        return 0.2 if self.fails else 0.5 if self.out else interval


def follow(target: Target) -> None:
    """Ask a host's health page for ever, and note in its files what it answers."""
    out, failing = STATE / "out" / target.file, STATE / "failing" / target.file
    count = Count(out.exists(), time.monotonic())
    while True:
        why = wrong(target)
        before = count.fails
        changed = count.add(why, time.monotonic())
        if why and not before:
            failing.write_text(f"{why}\n", encoding="utf-8")
        elif before and not why:
            failing.unlink(missing_ok=True)
        if changed:
            if count.out:
                out.write_text(f"{why}\n", encoding="utf-8")
            else:
                out.unlink(missing_ok=True)
            sys.stdout.write(f"{target.host} ({target.address}) {why or 'answers'}\n")
            sys.stdout.flush()
            apply()
        time.sleep(count.pause(target.interval))


def apply() -> None:
    """Let the web server use the hosts that are not out."""
    subprocess.run(["sh", UPSTREAMS, "apply"], check=False)


def watch(every: Sequence[Target]) -> None:
    """Follow all hosts, end drains that are over, and repeat reloads that failed."""
    # A follower must not end: the service manager starts the whole again.
    threading.excepthook = _end
    for target in every:
        threading.Thread(target=follow, args=(target,), daemon=True).start()
    while True:
        time.sleep(2)
        if (STATE / "pending").exists() or any((STATE / "drain").iterdir()):
            apply()


def _end(failed: threading.ExceptHookArgs) -> None:
    sys.excepthook(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    os._exit(1)


def main(words: list[str]) -> int:
    """Run a command, and return its exit code."""
    every = targets(os.environ["TARGETS"])
    match words:
        case ["watch"]:
            watch(every)
        case ["answers", host]:
            return 1 if any(wrong(target) for target in every if target.host == host) else 0
    sys.stderr.write(f"{__doc__}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
