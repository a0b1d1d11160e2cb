"""A fleet of machines that misbehave in turn, on one port: machine N is at /N. To try the poller, and for its tests."""

import json
import random
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Fleet(ThreadingHTTPServer):
    """Every `period` seconds, each machine changes to the next behaviour; every second machine always behaves well."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], count: int, period: float = 300) -> None:
        super().__init__(address, Handler)
        self.count = count
        self.period = period

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def behaviour(self, number: int) -> str:
        if number % 2:
            return "well"
        return BEHAVIOURS[(number // 2 + int(time.time() // self.period)) % len(BEHAVIOURS)]


class Handler(BaseHTTPRequestHandler):
    server: Fleet
    timeout = 60

    def do_GET(self) -> None:
        name = self.path.strip("/").partition("?")[0]
        if name in BEHAVIOURS:
            behaviour, number = name, 0
        elif name.isdecimal() and 1 <= int(name) <= self.server.count:
            number = int(name)
            behaviour = self.server.behaviour(number)
        else:
            self.send_error(404)
            return
        try:
            getattr(self, behaviour)(random.Random(f"{number} {time.time() // 60}"))  # noqa: S311 - it makes samples up
        except OSError:
            self.close_connection = True  # the poller had enough

    def log_message(self, *_: Any) -> None:
        """Say nothing: a fleet is asked often."""

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def report(self, dice: random.Random, **changes: Any) -> None:
        normal = {
            "cpu": dice.randint(5, 70),
            "mem": f"{dice.randint(20, 80)}%",
            "disk": f"{dice.randint(20, 80)}%",
            "uptime": f"{dice.randint(0, 90)}d {dice.randint(0, 23)}h {dice.randint(0, 59)}m {dice.randint(0, 59)}s",
        }
        said = {name: value for name, value in {**normal, **changes}.items() if value is not None}
        self.answer(json.dumps(said).encode())

    def well(self, dice: random.Random) -> None:
        self.report(dice)

    def busy(self, dice: random.Random) -> None:
        self.report(dice, cpu=f"{dice.randint(86, 100)}%")

    def full(self, dice: random.Random) -> None:
        self.report(dice, mem=dice.randint(91, 100), disk=96.5)

    def missing(self, dice: random.Random) -> None:
        self.report(dice, mem=None, fans=[1200, 1180])

    def words(self, dice: random.Random) -> None:
        self.report(dice, cpu="sixty", disk=True)

    def bad_json(self, _dice: random.Random) -> None:
        self.answer(b'{"cpu": 60, "mem"')

    def html(self, _dice: random.Random) -> None:
        self.answer(b"<h1>It works</h1>", **{"Content-Type": "text/html"})

    def redirect(self, _dice: random.Random) -> None:
        self.answer(b"", 302, Location="http://127.0.0.1:22/")

    def error(self, _dice: random.Random) -> None:
        self.answer(b"no", 500)

    def huge(self, _dice: random.Random) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b" " * 100_000)

    def cut_off(self, _dice: random.Random) -> None:
        self.answer(b'{"cpu": 6', **{"Content-Length": "70"})

    def garbage(self, _dice: random.Random) -> None:
        self.wfile.write(b"\x00\xffSSH-2.0-x\r\n\r\n")
        self.close_connection = True

    def trickle(self, _dice: random.Random) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(600):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)  # the slowness is what this machine is for

    def silent(self, _dice: random.Random) -> None:
        self.connection.settimeout(60)
        self.connection.recv(1)

    def reset(self, _dice: random.Random) -> None:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # close() sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True


BEHAVIOURS: tuple[str, ...] = (
    *("well", "busy", "full", "missing", "words", "bad_json", "html", "redirect", "error", "huge", "cut_off"),
    *("garbage", "trickle", "silent", "reset"),
)
