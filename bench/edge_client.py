"""The client of bench/edge.py during reloads: it repeats a GET like a browser, and otherwise as the drills' client.

A server may close an idle connection at the moment when a client uses it again. A GET that gets no byte of a response
is then repeated on a new connection (RFC 9112, section 9.3.1).
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import threading

from plainstack.drill.load import Reporter, Site, generate


class Repeating(Site):
    """A site whose pages are requested again, once, if an idle connection turns out to be closed."""

    _this = threading.local()

    def get(self, key: int) -> str:
        """Request the page and return the outcome; it begins with "ok" for a success."""
        outcome = super().get(key)
        if outcome != "connection reset" or not self._this.reused:
            return outcome
        again = super().get(key)
        return "ok when repeated" if again == "ok" and not self._this.reused else again

    def _known(self) -> http.client.HTTPSConnection | None:
        connection = super()._known()
        self._this.reused = connection is not None
        return connection


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cadata=settings["authority"])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    site = Repeating(settings["address"], settings["address"], context, settings["path"])
    reporter = Reporter()
    generate(reporter, [("get", site.get)], settings["rate"], settings["seconds"])
    reporter.report("bye")
    os._exit(0)


if __name__ == "__main__":
    main()
