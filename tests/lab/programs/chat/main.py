"""A chat room: every message that a client sends over a WebSocket goes to all clients of this process."""

import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI(root_path="/chat")
clients: set[WebSocket] = set()


@app.get("/health")
def health() -> dict[str, str]:
    return {"release": os.environ["RELEASE"]}


@app.websocket("/room")
async def room(client: WebSocket) -> None:
    await client.accept()
    clients.add(client)
    await client.send_text(f"joined {os.environ['WHERE']}")
    try:
        while True:
            text = await client.receive_text()
            for each in list(clients):
                await each.send_text(text)
    except WebSocketDisconnect:
        clients.discard(client)
