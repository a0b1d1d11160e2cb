"""Changes to a file, such as the inventory, for the time of a `with` block, and commands that run beside a test."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from plainstack.engine.paths import LOCK
from tests.lab.operator import Operator
from tests.waiting import PATIENCE


@contextmanager
def changed(operator: Operator, old: str, new: str) -> Iterator[None]:
    """Replace a text in the inventory during the `with` block."""
    text = operator.inventory.read_text(encoding="utf-8")
    assert old in text
    with holding(operator.inventory, text.replace(old, new)):
        yield


@contextmanager
def holding(path: Path, text: str) -> Iterator[None]:
    """Give a file on the operator's machine another text during the `with` block."""
    before = path.read_text(encoding="utf-8")
    assert text != before
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


@contextmanager
def ending(operator: Operator, template: str, line: str) -> Iterator[None]:
    """Append a line to a template during the `with` block."""
    path = operator.project / "templates" / template
    with holding(path, f"{path.read_text(encoding='utf-8')}{line}\n"):
        yield


@contextmanager
def locking_out(operator: Operator) -> Iterator[None]:
    """Let the firewall's template drop new SSH connections during the `with` block; a plan cannot see that."""
    template = operator.project / "templates/firewall/etc/iptables/plainstack.v{version}.j2"
    openings = "{% for rule in rules %}"
    text = template.read_text(encoding="utf-8")
    with holding(template, text.replace(openings, f"-A plainstack-input -p tcp --dport 22 -j DROP\n{openings}")):
        yield


@contextmanager
def waiting_to_start(operator: Operator, host: str, unit: str) -> Iterator[None]:
    """Let each start of a unit on a host last until the end of the `with` block."""
    folder = f"/run/systemd/system/{unit}.d"
    drop_in = f"""[Service]
TimeoutStartSec=infinity
ExecStartPre=/bin/sh -c 'while [ -e {folder}/wait ]; do sleep 0.1; done'
"""
    operator.on(host, f"mkdir -p {folder}; touch {folder}/wait; cat >{folder}/wait.conf <<'END'\n{drop_in}END\n")
    operator.on(host, "systemctl daemon-reload")
    try:
        yield
    finally:
        operator.on(host, f"rm -r {folder}; systemctl daemon-reload")


def await_output(process: subprocess.Popen[str], text: str) -> str:
    """Return the output up to and including the line that contains a text."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came:\n{seen}")


def await_end(process: subprocess.Popen[str]) -> str:
    """Return the rest of the output when the process has ended; it is killed after PATIENCE.

    `communicate` with a time limit loses lines that `await_output` has buffered together with the one it returned.
    """
    assert process.stdout
    limit = threading.Timer(PATIENCE, process.kill)
    limit.start()
    try:
        rest = process.stdout.read()
        process.wait()
    finally:
        limit.cancel()
    return rest


def kill(operator: Operator, process: subprocess.Popen[str], *hosts: str) -> None:
    """Kill a command, and wait until these hosts have released its locks: their sshd notices its end a moment later."""
    process.kill()
    process.wait()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: operator.on(host, f"flock -w {PATIENCE} {LOCK} true"), hosts))


def start(operator: Operator, *words: str) -> subprocess.Popen[str]:
    """Start an inv command without waiting for it."""
    line = [str(Path(sys.executable).with_name("inv")), *words, f"--inventory={operator.inventory}"]
    return subprocess.Popen(line, cwd=operator.project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
