"""Downloads out of a bucket, each into a file of its own that appears when it is complete."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError
from destination import Failed

_CHUNK = 1 << 20
_TRIES = 4


class Pace:
    """Lets all threads together take `rate` bytes a second; 0 is without limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int) -> None:
        """Wait until so many bytes may be taken."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._rate
            delay = self._free_at - now
        time.sleep(delay)


class Receiver:
    """Writes the objects of a bucket whose names begin with `prefix` below the folder `into`."""

    def __init__(self, client: Any, bucket: str, prefix: str, into: Path, pace: Pace) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._into = into
        self._pace = pace

    def receive(self, name: str) -> tuple[Path, str] | None:
        """Write one file or folder, or return a link that is to be made and what it points to."""
        path = self._into / name
        if ".." in Path(name).parts or not path.parent.resolve().is_relative_to(self._into.resolve()):
            raise Failed("damaged", f"the copy has a file that is not a backup's: {name}")
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(_TRIES)):
            try:
                return self._get(name, path)
            except (HTTPClientError, IncompleteReadError, ResponseStreamingError):
                # The client itself repeats requests, but not the reading of an answer.
                if not left:
                    raise
        return None

    def _get(self, name: str, path: Path) -> tuple[Path, str] | None:
        got = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")
        metadata = got["Metadata"]
        if "link" in metadata:
            return path, unquote(metadata["link"])
        new = path.with_name(f".{path.name}.new")
        with new.open("wb") as file:
            for chunk in got["Body"].iter_chunks(_CHUNK):
                self._pace.spend(len(chunk))
                file.write(chunk)
        if mtime := float(metadata.get("mtime", 0)):
            os.utime(new, (mtime, mtime))
        new.replace(path)
        return None
