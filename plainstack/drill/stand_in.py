"""Answers 500 in place of a process until its unit is restarted. This file is sent to a host, where Python runs it.

argv: the process's unit, its watchdog's unit, the address and the port of the process, and shell code that removes the
packet filter rules of this program. The file imports nothing from Plainstack.

New connections to the process's port are handed to this program by TPROXY (iptables-extensions(8)). It changes no
packet, so the host's packet filter treats them as before; and it works for connections from the host itself. Open
connections are closed, so that clients connect again.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

CHAIN = "plainstack-drill"
# <linux/in.h>, <linux/in6.h>
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
BODY = b"This host is sick, for a drill.\n"
ANSWER = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


def report(*message: Any) -> None:
    """Write one message; its reader may have gone."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def invocation(unit: str) -> str:
    """Return systemd's identifier of the current run of a unit; "" if it does not run, or stops."""
    command = ["systemctl", "show", "--property=ActiveState,InvocationID", unit]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    shown = {name: value for name, _, value in (line.partition("=") for line in lines)}
    return shown.get("InvocationID", "") if shown.get("ActiveState") in ("active", "reloading") else ""


def listen(address: str) -> socket.socket:
    """Return a socket that may take connections to other addresses and ports than its own."""
    v6 = ":" in address
    found = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
    found.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, IPV6_TRANSPARENT if v6 else IP_TRANSPARENT, 1)
    # Otherwise the process could not listen while connections that were answered here are still known to the kernel.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("::1" if v6 else "127.0.0.1", 0))
    found.listen(1024)
    return found


def take(address: str, port: str, own: socket.socket) -> None:
    """Hand new connections to the process to this program, and close the open ones."""
    there, mine = own.getsockname()[:2]
    tables = ["ip6tables" if ":" in address else "iptables", "-w", "5", "-t", "mangle"]
    to = ["-j", "TPROXY", "--on-ip", there, "--on-port", str(mine)]
    for rule in (
        ["-N", CHAIN],
        ["-A", CHAIN, "-p", "tcp", *to],
        ["-I", "PREROUTING", "-p", "tcp", "--dport", port, "--syn", "-j", CHAIN],
    ):
        subprocess.run([*tables, *rule], check=True)
    subprocess.run(["ss", "-HKt", "state", "established", f"sport = :{port}"], stdout=subprocess.DEVNULL, check=False)


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with 500."""
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(ANSWER)
        # The client closes first. If a body were left unread, the kernel would reset the connection, and the client
        # might miss the answer.
        await asyncio.wait_for(discard(reader), 1)
    writer.transport.abort()


async def discard(reader: asyncio.StreamReader) -> None:
    """Read until the end."""
    while await reader.read(65536):
        pass


async def stand_in(unit: str, own: socket.socket, before: str, undo: str) -> None:
    """Answer until the unit stops or is restarted, and then undo the rules."""
    server = await asyncio.start_server(refuse, sock=own)
    loop = asyncio.get_running_loop()
    async with server:
        while await loop.run_in_executor(None, invocation, unit) == before:
            await asyncio.sleep(0.1)
        await loop.run_in_executor(None, shell, undo)
        # Finish the answers to the last requests.
        await asyncio.sleep(0.3)


def shell(code: str) -> None:
    """Run shell code."""
    subprocess.run(["sh", "-c", code], stderr=subprocess.DEVNULL, check=False)


def said(watchdog: str, since: float) -> list[tuple[float, str]]:
    """Return the watchdog's messages since a time, each with the seconds since then."""
    # On a busy host, what was said a moment ago is not in the journal yet.
    subprocess.run(["timeout", "5", "journalctl", "--sync"], capture_output=True, check=False)
    command = ["journalctl", "--no-pager", "-o", "json", "-u", watchdog, f"--since=@{int(since)}"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = []
    for line in output.splitlines():
        entry = json.loads(line)
        seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6 - since
        if seconds >= 0 and entry.get("SYSLOG_IDENTIFIER") == "watchdog":
            found.append((seconds, str(entry["MESSAGE"])))
    return found


def main() -> None:
    """Stand in for the process, and report when it was restarted and what its watchdog said."""
    unit, watchdog, address, port, undo = sys.argv[1:]
    before = invocation(unit)
    if not before:
        sys.exit(f"{unit} does not run")
    own = listen(address)
    since = time.time()
    take(address, port, own)
    report("sick")
    asyncio.run(stand_in(unit, own, before, undo))
    while invocation(unit) in ("", before):
        time.sleep(0.1)
    report("restarted", said(watchdog, since))


if __name__ == "__main__":
    main()
