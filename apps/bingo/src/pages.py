"""The pages of the server, and its sickness."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler

import psycopg
from database import Pool
from say import complain

SICK = "We all gonna die"
SESSION = """
select s.id, s.film, s.began::text, c.name from sessions s join customers c on c.id = s.customer_id where s.id = %s
"""


class Pages:
    """What the server answers: a status, a type and a text for each path."""

    def __init__(self, pool: Pool, sick_after: int = 0) -> None:
        self._pool = pool
        self._sick_after = sick_after
        self._count = 0
        self._counting = threading.Lock()
        self.sick = False

    def fall_sick(self) -> None:
        """From now on, answer 500 to everything; only a restart helps."""
        if not self.sick:
            self.sick = True
            complain(SICK)

    def answer(self, path: str) -> tuple[int, str, str]:
        """Return the answer to a GET request."""
        if self._sick_after:
            with self._counting:
                self._count += 1
                if self._count > self._sick_after:
                    self.fall_sick()
        if self.sick:
            return 500, "text/plain", f"{SICK}\n"
        if path == "/ping":
            return 200, "text/plain", "pong\n"
        try:
            return self._stored(path)
        except psycopg.Error as error:
            complain(f"{path}: {error}")
            return 503, "text/plain", "the database does not answer\n"

    def _stored(self, path: str) -> tuple[int, str, str]:
        if path == "/db_dummy":
            self._pool.row("select 1")
            return 200, "text/plain", "ok\n"
        if found := re.fullmatch(r"/session/([0-9]{1,18})", path):
            row = self._pool.row(SESSION, int(found[1]))
            if row is None:
                return 404, "text/plain", f"there is no session {found[1]}\n"
            names = ("id", "film", "began", "customer")
            return 200, "application/json", json.dumps(dict(zip(names, row, strict=True))) + "\n"
        return 404, "text/plain", "known: /ping, /db_dummy, /session/NUMBER\n"


def handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers the requests of a connection with these pages."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "bingo", ""
        # Header and body are sent together: the client would delay its acknowledgement of the header.
        wbufsize = -1
        # Seconds after which an idle connection is closed.
        timeout = 75

        def do_GET(self) -> None:
            self._send(body=True)

        def do_HEAD(self) -> None:
            self._send(body=False)

        def _send(self, *, body: bool) -> None:
            status, kind, text = pages.answer(self.path.partition("?")[0])
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Print nothing for each request."""

    return Handler
