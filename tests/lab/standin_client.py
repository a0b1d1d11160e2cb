"""A visitor who uses an event stream or a WebSocket: python3 standin_client.py ADDRESS CA events|socket."""

import socket
import ssl
import sys

ADDRESS, AUTHORITY, WHAT = sys.argv[1:4]


def connected() -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=AUTHORITY)
    plain = socket.create_connection((ADDRESS, 443), 120)
    return context.wrap_socket(plain, server_hostname=ADDRESS)


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {ADDRESS}", *headers, "", ""]).encode()


def read_until(connection: ssl.SSLSocket, word: bytes) -> bytes:
    """Read until the word has arrived, and return all that was read. Raises TimeoutError if nothing comes."""
    got = b""
    while word not in got:
        more = connection.recv(4096)
        if not more:
            raise SystemExit(f"the connection ended before {word!r}: {got!r}")
        got += more
    return got


def events() -> None:
    """Check that the first event arrives before the second is sent."""
    stream = connected()
    stream.sendall(request("/events", "Accept: text/event-stream"))
    read_until(stream, b"data: first\n\n")
    # Send enough requests to reach every application host: only one of them has the stream.
    for _ in range(8):
        with connected() as other:
            other.sendall(request("/go", "Connection: close"))
            read_until(other, b"fine")
    read_until(stream, b"data: second\n\n")


def websocket() -> None:
    """Check that messages pass in both directions while the connection stays open."""
    with connected() as connection:
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        connection.sendall(request("/socket", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
        head = read_until(connection, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
        for word in (b"one", b"two"):
            connection.sendall(word)
            read_until(connection, b"heard " + word)


{"events": events, "socket": websocket}[WHAT]()
sys.stdout.write("well\n")
