"""A WebSocket client of the chat that needs only the standard library. It prints one JSON object when it ends.

websocket.py ADDRESS NAME idle SECONDS    # be silent that long, then send one message and wait for it
websocket.py ADDRESS NAME flow FILE       # send a message every 0.1 s until FILE exists; connect again when cut off;
                                          # FILE.joined exists from the first connection on
"""

import json
import os
import socket
import ssl
import sys
import time
from pathlib import Path

ADDRESS, NAME, MODE, LIMIT = sys.argv[1:]


class Room:
    """A connection to the chat; reading raises OSError when the other side closes it."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection((ADDRESS, 443), 10), server_hostname=NAME)
        asked = f"GET /chat/room/{MODE} HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        asked += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        self.socket.sendall(asked.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.splitlines()[0].decode())
        self.joined = self.receive()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def send(self, data: bytes, kind: int = 1) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(data)]) + mask + masked)

    def receive(self) -> str:
        while True:
            kind, size = self._exactly(2)
            data = self._exactly(size)
            if kind & 15 == 9:
                self.send(data, kind=10)
            elif kind & 15 == 8:
                raise ConnectionError("closed")
            else:
                return data.decode()


def idle() -> dict[str, object]:
    try:
        room = Room()
    except ConnectionError as error:
        return {"refused": str(error)}
    room.socket.settimeout(float(LIMIT) + 10)
    time.sleep(float(LIMIT))
    room.send(b"still here")
    return {"joined": room.joined, "answer": room.receive()}


def flow() -> dict[str, object]:
    sent, lost, cuts, gap, last, room = 0, 0, 0, 0.0, time.monotonic(), None
    where = set()
    while not Path(LIMIT).exists():
        try:
            if room is None:
                room = Room()
                room.socket.settimeout(15)
                where.add(room.joined)
                Path(f"{LIMIT}.joined").touch()
            sent += 1
            room.send(str(sent).encode())
            if room.receive() != str(sent):
                raise ConnectionError("another message")
            now = time.monotonic()
            gap, last = max(gap, now - last), now
        except OSError:
            lost, cuts, room = lost + (room is not None), cuts + 1, None
        time.sleep(0.1)
    return {"sent": sent, "lost": lost, "cuts": cuts, "gap": round(gap, 2), "where": sorted(where)}


sys.stdout.write(json.dumps({"idle": idle, "flow": flow}[MODE]()))
