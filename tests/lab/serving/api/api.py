"""An ASGI application that counts what is posted to it. Its server closes idle connections as soon as it must stop.

Its health page has a status and a name of its own.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    assert scope["type"] == "http"
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await asyncio.sleep(0.01)
    if body:
        with Path("media/counted").open("ab") as file:
            file.write(body + b"\n")
    if scope["path"] == "/up":
        named = dict(scope["headers"]).get(b"host") == b"inner.example"
        await send(
            {"type": "http.response.start", "status": 218 if named else 421, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})
        return
    text = f"release {os.environ['RELEASE']}\n".encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 201 if body else 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
