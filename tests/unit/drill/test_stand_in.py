"""The stand-in of a sick process with the kernel's packet filter, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plainstack.drill import sickness, stand_in
from tests.waiting import PATIENCE

# iptables and ss are where only root's PATH looks.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
ALONE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def possible() -> bool:
    """Return whether this machine lets the test make a network namespace with a packet filter."""
    if not all(shutil.which(program, path=PATH) for program in ("unshare", "iptables", "ss", "ip")):
        return False
    tried = subprocess.run(
        [*ALONE, "iptables", "-t", "mangle", "-S"], env={"PATH": PATH}, capture_output=True, check=False
    )
    return tried.returncode == 0


pytestmark = [pytest.mark.programs, pytest.mark.skipif(not possible(), reason="no network namespace or no iptables")]

# The process answers 200 over connections that stay open. systemctl says which run of its unit this is.
SCENE = """\
import http.client, http.server, os, socket, subprocess, sys, threading, time
from pathlib import Path

program, undo, run, listing, address = *sys.argv[1:3], Path(sys.argv[3]), *sys.argv[4:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


def status(connection):
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def fresh():
    return status(http.client.HTTPConnection(address, 8010, timeout=10))


def rules():
    return subprocess.run(listing.split(), capture_output=True, text=True, check=True).stdout.count("8010")


process = Server((address, 8010), Handler)
threading.Thread(target=process.serve_forever, daemon=True).start()
kept = http.client.HTTPConnection(address, 8010, timeout=10)
print("before", status(kept), flush=True)
arguments = ["plainstack-api.service", "plainstack-watchdog-api.service", address, "8010", undo]
other = subprocess.Popen([sys.executable, "-u", program, *arguments], stdout=subprocess.PIPE, text=True)
print(other.stdout.readline().strip(), flush=True)
try:
    print("kept", status(kept), flush=True)
except (OSError, http.client.HTTPException):
    print("kept closed", flush=True)
print("sick", fresh(), fresh(), rules(), flush=True)
process.shutdown()
process.server_close()
run.with_name("next").write_text("ActiveState=active\\nInvocationID=second\\n")
run.with_name("next").replace(run)
# The connections that were answered here must not keep the port from the restarted process.
process = Server((address, 8010), Handler)
threading.Thread(target=process.serve_forever, daemon=True).start()
print(other.stdout.readline().strip(), flush=True)
print("after", fresh(), rules(), other.wait(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("address", "version"), [("127.0.0.1", 4), ("::1", 6)])
def test_a_sick_process_answers_500_over_every_connection_until_it_is_restarted(
    tmp_path: Path, address: str, version: int
) -> None:
    if version == 6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("the kernel has no IPv6")
    run = tmp_path / "run"
    run.write_text("ActiveState=active\nInvocationID=first\n", encoding="ascii")
    message = (
        '{"__REALTIME_TIMESTAMP": "99999999999000000", "SYSLOG_IDENTIFIER": "watchdog", "MESSAGE": "restarting it"}'
    )
    for name, command in (("systemctl", f"cat {run}"), ("journalctl", f"echo '{message}'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    undo = sickness.undo_script("8010", version)
    listing = f"ip{'' if version == 4 else 6}tables -t mangle -S PREROUTING"
    done = subprocess.run(
        [*ALONE, sys.executable, "-", str(stand_in.__file__), undo, str(run), listing, address],
        input=SCENE,
        env={"PATH": f"{tmp_path}:{PATH}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stderr
    assert lines[:4] == ["before 200", '["sick"]', "kept closed", "sick 500 500 1"], done.stderr
    assert lines[4].startswith('["restarted", [[')
    assert "restarting it" in lines[4]
    assert lines[5] == "after 200 0 0"
