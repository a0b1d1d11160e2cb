"""Runs scripts with bare paramiko, the floor of the benchmarks: all hosts at once, one exec for each script.

Usage: floor.py JOB.json; the file has the namespace, the user, the key, the pins, and each host's address and scripts.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import paramiko

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from plainstack.ssh.netns import connect


def one(job: dict[str, Any], name: str, host: dict[str, Any], answers: dict[str, int]) -> None:
    """Connect to a host, run its scripts one after the other, and record the size of their output in `answers`."""
    client = paramiko.SSHClient()
    client.load_host_keys(job["known_hosts"])
    sock = connect(job["namespace"], host["address"], 22, 10)
    client.connect(
        host["address"],
        username=job["user"],
        key_filename=job["key"],
        look_for_keys=False,
        allow_agent=False,
        sock=sock,
    )
    transport = client.get_transport()
    assert transport is not None
    size = 0
    for script in host["scripts"]:
        channel = transport.open_session()
        channel.exec_command(("" if job["user"] == "root" else "sudo -n -- ") + "sh -c 'eval \"$(cat)\"'")
        channel.sendall(script.encode())
        channel.shutdown_write()
        while data := channel.recv(65536):
            size += len(data)
        if (code := channel.recv_exit_status()) != 0:
            raise RuntimeError(f"{name}: a script ended with {code}")
    answers[name] = size
    client.close()


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answers: dict[str, int] = {}
    threads = [threading.Thread(target=one, args=(job, name, host, answers)) for name, host in job["hosts"].items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answers) != len(job["hosts"]):
        raise SystemExit("a host did not answer")


if __name__ == "__main__":
    main()
