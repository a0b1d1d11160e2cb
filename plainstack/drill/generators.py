"""Starting the load generators, reading their output, and noticing when one dies."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from plainstack.drill.history import Damaged, Recorder
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki
from plainstack.secrets.values import Vault
from plainstack.services import site
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.release_steps import account, home, settings
from plainstack.shipped import PACKAGE
from plainstack.ssh.connections import Sessions
from plainstack.ssh.session import Session

# How long a response may take after the last request was due.
GRACE = 30
WRITER = Path(__file__).with_name("writer.py")


@dataclass
class Generator:
    """A load generator, read by a thread until it says bye; `died` is a message if it ended in any other way."""

    name: str
    recorder: Recorder
    clock: Callable[[], float]
    died: str = ""
    began: float | None = None
    _over: bool = False
    _stopped: bool = False
    _heard: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _end: Callable[[], None] = lambda: None

    def start(self, listen: Callable[[Generator], str], end: Callable[[], None]) -> None:
        """Read it in a thread: `listen` returns why the generator ended; `end` stops it early."""

        def work() -> None:
            try:
                reason = listen(self)
            except (Damaged, HostFailed, OSError) as error:
                reason = str(error)
            if not self._over and not self._stopped:
                self.died = (
                    f"the load generator {self.name} died at {self.clock():.1f} s:"
                    f" {reason or 'it ended without an error'}"
                )
            self._heard.set()

        self._end = end
        self._thread = threading.Thread(target=work, name=self.name, daemon=True)
        self._thread.start()

    def take(self, line: str) -> None:
        """Process one line of its output."""
        if line == '["hello"]':
            self.began = self.clock()
            self._heard.set()
        elif line == '["bye"]':
            self._over = True
        elif self.began is not None:
            self.recorder.feed(line, self.began)

    def await_hello(self, seconds: float) -> None:
        """Wait for its hello. Raises Refused if it does not come."""
        if not self._heard.wait(seconds) or self.began is None:
            raise Refused(self.died or f"the load generator {self.name} did not start within {seconds:g} s")

    def stop(self) -> None:
        """Stop it now."""
        self._stopped = True
        self._end()

    def join(self, seconds: float) -> None:
        """Wait for its end, and stop it after `seconds`."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            if self._thread.is_alive():
                self.stop()
                self._thread.join(5)


@dataclass(frozen=True)
class Entrance:
    """How clients reach the site: the address, the name, and the authorities they trust."""

    address: str
    name: str
    authority: str


def entrance(stack: Stack, vault: Vault) -> Entrance:
    """How visitors reach the site; `authority` is every certificate authority that may have signed its certificate, as
    PEM."""
    authority = vault.authority
    given = stack.settings(Balancer).tls
    if isinstance(given, GivenCertificate):
        authority += pki.blocks(stack.file(given.certificate), "CERTIFICATE")
    return Entrance(site.entrance(stack), site.name(stack), authority)


def ask_site(
    generator: Generator, stack: Stack, vault: Vault, drill: str, *, rate: float, seconds: float, posts: bool
) -> None:
    """Start the requests to the site in a child process; for a lab, inside its network namespace."""
    there = entrance(stack, vault)
    command = [sys.executable, "-m", "plainstack.drill.load"]
    if stack.in_lab:
        command = ["nsenter", f"--net=/run/netns/plainstack-{stack.lab_name}", *command]
    process = subprocess.Popen(
        command,
        cwd=PACKAGE.parent,
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C goes to the drill, which stops the load itself.
        start_new_session=True,
    )
    asked = {
        "address": there.address,
        "name": there.name,
        "authority": there.authority,
        "token": vault.password("app/api_token").reveal(),
        "drill": drill,
        "path": next(iter(stack.services.values())).path,
        "rate": rate,
        "seconds": seconds,
        "posts": posts,
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()

    def listen(this: Generator) -> str:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            this.take(line.rstrip("\n"))
        code = process.wait(10)
        return (process.stderr.read().strip().splitlines() or [f"exit code {code}"])[-1]

    generator.start(listen, process.kill)


def writer(
    generator: Generator,
    sessions: Sessions,
    host: str,
    service: str,
    words: tuple[str, str],
    *,
    rate: float,
    seconds: float,
    hosts: str,
) -> None:
    """Start the inserts: run by the application's Python on an app host, with its settings, over a new connection.

    `words` are the drill and the kind of attempt; `hosts` are the database hosts to connect to.
    """
    text = WRITER.read_text(encoding="utf-8")
    reader = "import sys; exec(compile(sys.stdin.read(int(sys.argv.pop(1))), 'writer', 'exec'))"
    arguments = [str(len(text)), *words, f"{rate:g}", f"{seconds:g}", hosts]
    python = f"{home(service)}/current/venv/bin/python"
    command = (
        f"set -a; . {settings(service)}; set +a; cd /;"
        f" exec runuser -u {account(service)} -- {shlex.join([python, '-u', '-c', reader, *arguments])}"
    )
    # A new connection: the drill stops the inserts by closing it, and their traffic slows nothing else down.
    session: Session = sessions.fresh(host)

    def listen(this: Generator) -> str:
        output = session.run(
            f"sh -c {shlex.quote(command)}",
            stdin=text.encode(),
            hold_stdin=True,
            on_line=this.take,
            timeout=seconds + GRACE,
            step=this.name,
        )
        session.close()
        return (output.err.strip().splitlines() or [f"exit code {output.code}"])[-1]

    generator.start(listen, session.close)


def wait(clock: Callable[[], float], until: float, broken: Callable[[], bool]) -> None:
    """Wait on the drill's clock, but no longer than until something breaks."""
    while clock() < until and not broken():
        time.sleep(0.05)
