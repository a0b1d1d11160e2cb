"""A chat: every message that a client sends over a WebSocket goes to all clients in the same room of this process."""

import os
from collections import defaultdict

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI(root_path="/chat")
rooms: dict[str, set[WebSocket]] = defaultdict(set)


@app.get("/health")
def health() -> dict[str, str]:
    return {"release": os.environ["RELEASE"]}


@app.websocket("/room/{name}")
async def room(client: WebSocket, name: str) -> None:
    await client.accept()
    rooms[name].add(client)
    await client.send_text(f"joined {os.environ['WHERE']}")
    try:
        while True:
            text = await client.receive_text()
            for each in list(rooms[name]):
                await each.send_text(text)
    except WebSocketDisconnect:
        rooms[name].discard(client)
