"""Starts the load generators that write directly to the database and to the cache, on a host with services."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.drill.generator import Generator
from plainstack.drill.generators import GRACE
from plainstack.drill.history import Kind
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql import sql
from plainstack.postgresql.settings import Database
from plainstack.roles.cache.settings import PASSWORD, PORT
from plainstack.secrets.values import Vault
from plainstack.services import kinds
from plainstack.services.places import account, home
from plainstack.services.processes import here
from plainstack.ssh.connections import Sessions
from plainstack.ssh.session import Session

WRITER = Path(__file__).with_name("writer.py")
_NOBODY = ("nobody", "/usr/bin/python3")


@dataclass(frozen=True)
class Load:
    """What a writer writes: `kind` at `rate` per second for `seconds`, with keys of the drill `drill`."""

    drill: str
    kind: Kind
    rate: float
    seconds: float


def insert(
    generator: Generator, stack: Stack, vault: Vault, sessions: Sessions, host: str, load: Load, hosts: str
) -> None:
    """Start inserts into the database with the account of the services; `hosts` are separated by commas."""
    login = {
        "host": hosts,
        "dbname": stack.settings(Database).name,
        "user": sql.login(vault),
        "password": vault.password(sql.password_name(sql.OWNER)).reveal(),
        "sslrootcert": f"{TLS}/ca.crt",
    }
    _start(generator, sessions.fresh(host), load, login, _with_psycopg(stack, host))


def store(generator: Generator, vault: Vault, sessions: Sessions, host: str, load: Load) -> None:
    """Start writes to the cache, as a program of a service does: with its password, over the proxy on its host."""
    login = {"host": "127.0.0.1", "port": PORT, "password": vault.password(PASSWORD).reveal()}
    user, python = _NOBODY
    _start(generator, sessions.fresh(host), load, login, f"cd /\nexec runuser -u {user} -- {python} ")


def _start(generator: Generator, session: Session, load: Load, login: dict[str, Any], python: str) -> None:
    """Start the writer on a host, in a session of its own: the drill closes it to stop the writes."""
    text = WRITER.read_text(encoding="utf-8")
    reader = "import sys; exec(compile(sys.stdin.read(int(sys.argv.pop(1))), 'writer', 'exec'))"
    arguments = [str(len(text)), load.drill, load.kind, f"{load.rate:g}", f"{load.seconds:g}"]

    def listen(this: Generator) -> str:
        output = session.run(
            f"sh -c {shlex.quote(python + shlex.join(['-u', '-c', reader, *arguments]))}",
            stdin=f"{text}{json.dumps(login)}\n".encode(),
            hold_stdin=True,
            on_line=this.take,
            timeout=load.seconds + GRACE,
            step=this.name,
        )
        session.close()
        return (output.err.strip().splitlines() or [f"exit code {output.code}"])[-1]

    generator.start(listen, session.close)


def _with_psycopg(stack: Stack, host: str) -> str:
    """Return shell code that executes the first Python that has psycopg: one of a service, or else Debian's own."""
    found = [
        (account(name), f"{home(name)}/current/venv/bin/python")
        for name, _ in here(stack, stack.hosts[host])
        if kinds.of(stack.services[name]).requirements
    ]
    tries = [
        f"if {run} -c 'import psycopg' 2>/dev/null </dev/null; then exec {run} \"$@\"; fi\n"
        for user, python in (*found, _NOBODY)
        for run in (f"runuser -u {user} -- {python}",)
    ]
    return f"cd /\nrun() {{\n{''.join(tries)}echo 'no Python with psycopg on this host' >&2; exit 1\n}}\nrun "
