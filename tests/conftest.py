"""What all tests share: programs that they start can be interrupted, however the tests themselves were started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # What is started in the background has Ctrl-C ignored, and hands that on to every program it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
