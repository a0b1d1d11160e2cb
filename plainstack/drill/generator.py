"""A load generator of a drill: reads its output, and notices if it dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.drill.history import Damaged, Recorder
from plainstack.errors import HostFailed, Refused


@dataclass
class Generator:
    """A load generator, whose output a thread reads until the message "bye".

    `died` is an error message if the generator ended in any other way.
    """

    name: str
    recorder: Recorder
    clock: Callable[[], float]
    died: str = ""
    began: float | None = None
    _over: bool = False
    _stopped: bool = False
    _heard: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _end: Callable[[], None] = lambda: None

    def start(self, listen: Callable[[Generator], str], end: Callable[[], None]) -> None:
        """Start the thread that reads the output with `listen`, which returns why the generator ended.

        `end` stops the generator early.
        """

        def work() -> None:
            try:
                reason = listen(self)
            except (Damaged, HostFailed, OSError) as error:
                reason = str(error)
            if not self._over and not self._stopped:
                self.died = (
                    f"the load generator {self.name} died at {self.clock():.1f} s:"
                    f" {reason or 'it ended without an error'}"
                )
            self._heard.set()

        self._end = end
        self._thread = threading.Thread(target=work, name=self.name, daemon=True)
        self._thread.start()

    def take(self, line: str) -> None:
        """Process one line of the generator's output."""
        if line == '["hello"]':
            self.began = self.clock()
            self._heard.set()
        elif line == '["bye"]':
            self._over = True
        elif self.began is not None:
            self.recorder.feed(line, self.began)

    def await_hello(self, seconds: float) -> None:
        """Wait for the message "hello". Raises Refused if it does not come within `seconds`."""
        if not self._heard.wait(seconds) or self.began is None:
            raise Refused(self.died or f"the load generator {self.name} did not start within {seconds:g} s")

    def stop(self) -> None:
        """Stop the generator now."""
        self._stopped = True
        self._end()

    def join(self, seconds: float) -> None:
        """Wait until the generator ends, and stop it after `seconds`."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            if self._thread.is_alive():
                self.stop()
                self._thread.join(5)
