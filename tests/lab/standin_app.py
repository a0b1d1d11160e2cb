"""An application that misbehaves on purpose, in place of a service: python3 standin_app.py ADDRESS PORT."""

import base64
import hashlib
import itertools
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

GO = threading.Event()
# An item for each request that waits for GO.
HELD: list[str] = []
COUNT = itertools.count(1)
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0: a response without a length ends with its connection, the hardest kind for a proxy to stream."""

    service = ""
    host = ""

    def do_GET(self) -> None:
        # Below any folder, the last part of the path says what to do.
        name, _, number = self.path.partition("?")[0].rstrip("/").rpartition("/")[2].partition("-")
        getattr(self, f"page_{name}", self.page_)(int(number or 0))

    def end_headers(self) -> None:
        if self.service:
            self.send_header("X-Service", self.service)
            self.send_header("X-Host", self.host)
        super().end_headers()

    def do_HEAD(self) -> None:
        self.page_told(0)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.page_(0)

    def page_up(self, _number: int) -> None:
        self.page_echo(0)

    def page_(self, _number: int) -> None:
        body = b"fine\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def page_cookies(self, number: int) -> None:
        self.send_response(200)
        for each in range(number):
            self.send_header("Set-Cookie", f"c{each}={'x' * 1000}")
        self.end_headers()

    def page_broken(self, _number: int) -> None:
        """Close the connection without a response."""
        self.close_connection = True

    def page_nonsense(self, _number: int) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Nonsense: \x00\r\n\r\n")
        self.close_connection = True

    def page_slow(self, seconds: int) -> None:
        time.sleep(seconds)
        self.page_(0)

    def page_crash(self, _number: int) -> None:
        self.send_error(500)

    def page_cut(self, _number: int) -> None:
        """Reset the connection in the middle of the body."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise ConnectionResetError

    def page_echo(self, _number: int) -> None:
        """Show the request that the application gets, and set headers as applications do."""
        body = f"{self.requestline}\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Powered-By", "a language")
        self.end_headers()
        self.wfile.write(body)

    def page_text(self, number: int) -> None:
        """Send a text of so many lines."""
        body = b"a line of text\n" * number
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def page_redirect(self, _number: int) -> None:
        """Redirect to the URL in the query."""
        self.send_response(302)
        self.send_header("Location", self.path.partition("?")[2].replace("HOST", self.headers["Host"]))
        self.end_headers()

    def page_told(self, _number: int) -> None:
        """Send the headers in the query, and the request with a number of its own as the body."""
        given = parse_qsl(self.path.partition("?")[2])
        body = f"{next(COUNT)} {self.requestline}\n{self.headers}".encode()
        self.send_response(int(dict(given).pop("status", 200)))
        for name, value in given:
            if name != "status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def page_events(self, _number: int) -> None:
        """Send one event, and a second one when somebody has requested /go."""
        GO.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.wfile.flush()
        GO.wait(300)
        self.wfile.write(b"data: second\n\n")

    def page_go(self, _number: int) -> None:
        GO.set()
        self.page_(0)

    def page_held(self, _number: int) -> None:
        """Answer when GO is set."""
        HELD.append(self.path)
        GO.wait(300)
        HELD.remove(self.path)
        self.page_(0)

    def page_socket(self, _number: int) -> None:
        key = self.headers["Sec-WebSocket-Key"].encode() + WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.protocol_version = "HTTP/1.1"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        while said := self.rfile.read1(100):
            self.wfile.write(b"heard " + said)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_words: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server with a longer queue of new connections than Python's default of 5, as Gunicorn has."""

    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Report errors of this program, but not that a client has closed its connection."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
