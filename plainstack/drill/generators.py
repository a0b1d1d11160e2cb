"""Starts the load generators, listens to them, and notices when one dies."""

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

# After the last request was due: how long its answer may take.
GRACE = 30
WRITER = Path(__file__).with_name("writer.py")


@dataclass
class Generator:
    """One generator: a thread listens to it until it says bye; `died` is a sentence when it ended otherwise."""

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
        """Listen in a thread: `listen` returns why the generator ended; `end` ends it early."""

        def work() -> None:
            try:
                reason = listen(self)
            except (Damaged, HostFailed, OSError) as error:
                reason = str(error)
            if not self._over and not self._stopped:
                self.died = f"the load generator {self.name} died at {self.clock():.1f} s: {reason or 'it just ended'}"
            self._heard.set()

        self._end = end
        self._thread = threading.Thread(target=work, name=self.name, daemon=True)
        self._thread.start()

    def take(self, line: str) -> None:
        """One line of its output."""
        if line == '["hello"]':
            self.began = self.clock()
            self._heard.set()
        elif line == '["bye"]':
            self._over = True
        elif self.began is not None:
            self.recorder.feed(line, self.began)

    def await_hello(self, seconds: float) -> None:
        """Wait until it began; raises Refused when it does not."""
        if not self._heard.wait(seconds) or self.began is None:
            raise Refused(self.died or f"the load generator {self.name} did not begin within {seconds:g} s")

    def stop(self) -> None:
        """End it now."""
        self._stopped = True
        self._end()

    def join(self, seconds: float) -> None:
        """Wait for its end, and end it when it does not come."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            if self._thread.is_alive():
                self.stop()
                self._thread.join(5)


@dataclass(frozen=True)
class Entrance:
    """How clients find the site: where, under which name, and what they trust."""

    address: str
    name: str
    authority: str


def entrance(stack: Stack, vault: Vault) -> Entrance:
    """How visitors come in; `authority` is all that may have signed the site's certificate, as PEM."""
    authority = vault.authority
    given = stack.settings(Balancer).tls
    if isinstance(given, GivenCertificate):
        authority += pki.blocks(stack.file(given.certificate), "CERTIFICATE")
    return Entrance(site.entrance(stack), site.name(stack), authority)


def ask_site(
    generator: Generator, stack: Stack, vault: Vault, drill: str, *, rate: float, seconds: float, posts: bool
) -> None:
    """Start the requests at the site: a child process, in the lab one inside the lab's network."""
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
        # Ctrl-C is for the drill, which ends the load itself.
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
    """Start the inserts: the application's own Python on an app host, with its settings, over a connection of its own.

    `words` are the drill and the kind of attempt; `hosts` whom to write to.
    """
    text = WRITER.read_text(encoding="utf-8")
    reader = "import sys; exec(compile(sys.stdin.read(int(sys.argv.pop(1))), 'writer', 'exec'))"
    arguments = [str(len(text)), *words, f"{rate:g}", f"{seconds:g}", hosts]
    python = f"{home(service)}/current/venv/bin/python"
    command = (
        f"set -a; . {settings(service)}; set +a; cd /;"
        f" exec runuser -u {account(service)} -- {shlex.join([python, '-u', '-c', reader, *arguments])}"
    )
    # Its own connection: the drill ends it by closing it, and what it does slows nothing else down.
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
    """Let time pass on the drill's clock, less when something broke."""
    while clock() < until and not broken():
        time.sleep(0.05)
