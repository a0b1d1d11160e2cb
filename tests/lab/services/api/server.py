"""A small HTTP service that responds with its environment, and with status 500 after a request for /api/sick."""

import http.server
import json
import os
import sys
from pathlib import Path

SICK, MEDIA = Path("/tmp/sick"), Path("media")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/sick":
            SICK.touch()
        if self.path == "/api/upload":
            (MEDIA / "upload").write_text("kept", encoding="utf-8")
        shown = {
            "env": dict(os.environ),
            "folder": str(Path.cwd()),
            "pid": os.getpid(),
            "media": [file.name for file in MEDIA.iterdir()],
        }
        body = json.dumps(shown).encode()
        self.send_response(500 if SICK.exists() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
