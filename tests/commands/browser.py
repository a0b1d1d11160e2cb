"""Chromium, driven over a pipe: it opens pages, runs scripts in them, and says what they answer."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.waiting import PATIENCE

CHROMIUM = shutil.which("chromium")
_QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    *_QUIET,
)


class Browser:
    """One tab of a running Chromium."""

    def __init__(self, to: int, out: int) -> None:
        self._to, self._out = to, out
        self._numbers = itertools.count(1)
        self._read = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol, and return its result. Raises RuntimeError if it fails."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session := getattr(self, "_session", ""):
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Open a page, or the one that it redirects to."""
        self.run("window.before = true")
        self.call("Page.navigate", url=url)
        self.until("!window.before && document.readyState === 'complete'")

    def until(self, script: str) -> None:
        """Wait until an expression is true in the page, which may be on its way to another one."""
        end = time.monotonic() + PATIENCE
        while not self._true(script):
            assert time.monotonic() < end, f"never true: {script}\n{self.run('document.body.innerText')}"
            time.sleep(0.1)

    def _true(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except RuntimeError:  # the page was replaced meanwhile
            return False

    def _message(self) -> Any:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._out], [], [], PATIENCE)
            assert ready, "Chromium does not answer"
            self._read += os.read(self._out, 1 << 16)
        text, _, self._read = self._read.partition(b"\0")
        return json.loads(text)


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start Chromium with a profile of its own."""
    assert CHROMIUM, "chromium is missing: run make commands, which installs it"
    theirs_in, ours_to = os.pipe()
    ours_out, theirs_to = os.pipe()
    # Chromium's helper processes still write to the profile after the browser has exited.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol wants its pipe at these two file descriptors.
        script = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
        words = ["bash", "-c", script, "bash", CHROMIUM, *_FLAGS, *flags, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            words,
            pass_fds=(theirs_in, theirs_to),
            env={**os.environ, "IN": str(theirs_in), "OUT": str(theirs_to)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_to)
        try:
            yield Browser(ours_to, ours_out)
        finally:
            process.terminate()
            process.wait()
            os.close(ours_to)
            os.close(ours_out)
