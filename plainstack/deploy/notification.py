"""Notifications about a command, to a program and a webhook. They never fail the command, and delay it only briefly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from datetime import UTC, datetime
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError, Refused
from plainstack.inventory import references
from plainstack.inventory.stack import Stack
from plainstack.secrets import store
from plainstack.services.notifications import PREFIX


@dataclass(frozen=True)
class Report:
    """What a command did, as the JSON document of notifications; docs/daily.md describes the fields."""

    action: str
    command: str
    stack: str
    who: str
    commit: str
    result: str
    seconds: float
    hosts: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    at: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @property
    def text(self) -> str:
        """One line for people, for chats that show only the field `text`."""
        what = f"{self.stack}: {self.action} by {self.who}: {self.result} in {self.seconds:.0f} s"
        changed = [f"{name} {one.get('before') or 'none'} -> {one.get('after')}" for name, one in self.services.items()]
        return "; ".join([what, *changed, *(f"{host} failed" for host in self.failures)])

    def document(self) -> str:
        """Return the JSON document."""
        return json.dumps({"version": 1, "text": self.text, **asdict(self)}, default=str)


def send(stack: Stack, report: Report, complain: Callable[[str], None]) -> None:
    """Send the notifications about a command; call `complain` with a sentence for each that failed.

    It returns after `notify.timeout` seconds at the latest, and raises nothing.
    """
    notify = stack.notify
    problems: dict[str, str] = {}
    ways: dict[str, Callable[[], str]] = {}
    if notify.command is not None:
        line = notify.command
        ways["notify.command"] = lambda: _run(line, stack.folder, report, notify.timeout)
    if notify.webhook is not None:
        url = notify.webhook
        ways["notify.webhook"] = lambda: _post(stack, url, report)

    def one(name: str, way: Callable[[], str]) -> None:
        try:
            problems[name] = way()
        except (PlainstackError, OSError, ValueError) as error:
            problems[name] = str(error)

    # Daemons: a thread that is given up must not keep the command from ending.
    threads = {name: threading.Thread(target=one, args=(name, way), daemon=True) for name, way in ways.items()}
    for thread in threads.values():
        thread.start()
    # The command and the request have the same limit; a host name that is not resolved in time has none.
    deadline = time.monotonic() + notify.timeout + 1
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        problem = f"no answer within {notify.timeout} s" if thread.is_alive() else problems.get(name, "failed")
        if problem:
            complain(f"{name}: {problem}; nothing else is affected")


def _run(line: str, folder: Path, report: Report, seconds: float) -> str:
    process = subprocess.Popen(  # noqa: S602 - the inventory's own command line
        line,
        shell=True,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        said, _ = process.communicate(f"{report.document()}\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"did not end within {seconds:g} s"
    last = said.strip().splitlines()[-1:]
    return f"ended with {process.returncode}: {''.join(last)}" if process.returncode else ""


def _post(stack: Stack, url: str, report: Report) -> str:
    import requests

    values = _secrets(stack)
    headers = {name: references.resolve(text, values.__getitem__) for name, text in stack.notify.headers.items()}
    try:
        answer = requests.post(
            references.resolve(url, values.__getitem__),
            data=report.document().encode(),
            headers={"Content-Type": "application/json", **headers},
            timeout=stack.notify.timeout,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        # The text of the error contains the URL, and so perhaps a secret.
        return f"could not be reached ({type(error).__name__})"
    return "" if answer.ok and not answer.is_redirect else f"answered {answer.status_code}"


def _secrets(stack: Stack) -> dict[str, str]:
    """Return the values of the secrets of notifications by reference. Raises Refused if one has no value."""
    wanted = stack.notify.secrets
    if not wanted:
        return {}
    from plainstack.secrets import command

    entries = store.read(stack).entries
    lines = {f"{PREFIX}{name}": one.command for name, one in wanted.items() if one.command}
    printed = command.values(lines, stack.folder, stack.notify.timeout)
    found = {}
    for name in wanted:
        key = f"{PREFIX}{name}"
        if key not in printed and key not in entries:
            raise Refused(f"the secret {key} is not set; set it: inv secrets.set {key}")
        value = printed[key] if key in printed else entries[key].value
        found[f"{references.OWN_SECRET}{name}"] = value.reveal()
    return found
