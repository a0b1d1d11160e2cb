"""Requests to the site of a lab at a fixed rate, from clients inside its network, and a count of their outcomes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plainstack.drill import generators
from plainstack.secrets import store
from plainstack.services.edge import Balancer
from tests.lab.operator import ROOT, Operator
from tests.lab.test_secrets import stack_of
from tests.waiting import until

# Seconds. These tests are about requests that fail, and not about how fast a busy machine is: the limits of a drill are
# too short for them. A request that has waited longer for its answer when the load ends counts as unanswered.
CONNECTED, PROMPT = 15, 40
CLIENTS = f"""\
from plainstack.drill import load
load.CONNECT_TIMEOUT, load.ANSWER_TIMEOUT = {CONNECTED}, {PROMPT}
load.main()
"""


class Load:
    """Clients that send GETs over kept-alive connections; a third of their requests are POSTs, each over a new one.

    With `reuse` in what is asked, POSTs use kept-alive connections, too.
    """

    def __init__(self, lab: str, asked: Mapping[str, Any], output: Path) -> None:
        self._output = output
        # The output is not read until the end: a pipe would fill up and block the clients.
        with output.open("w") as file:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/plainstack-{lab}", sys.executable, "-c", CLIENTS],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                text=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answered(self, kind: str = "") -> int:
        """Return how many requests have ended, of all kinds or of one."""
        begins = f'["end", "{kind}'
        return sum(line.startswith(begins) for line in self._output.read_text(encoding="utf-8").splitlines())

    def await_answers(self, count: int) -> None:
        until(lambda: self.answered() >= count)

    def stop(self) -> None:
        """End the load. Requests that began just before and have no answer yet are not counted."""
        self._process.kill()
        self._process.wait()

    def messages(self) -> list[list[Any]]:
        """Return what the clients have reported so far, in its order."""
        lines = self._output.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("]")]

    def outcomes(self) -> tuple[Counter[str], set[str]]:
        """Return a count of the outcomes of each kind of request, and the keys of the POSTs that have succeeded."""
        messages = self.messages()
        ended = [message for message in messages if message[0] == "end"]
        seen = Counter(f"{message[1]} {message[4]}" for message in ended)
        seen["not sent"] = sum(message[0] == "skip" for message in messages)
        # Seconds since the load began: when the last answer came, and when each request began.
        last = max((message[3] for message in ended), default=0)
        done = {message[2] for message in ended}
        begun = {message[2]: message[4] for message in messages if message[0] == "begin"}
        seen["unanswered"] = sum(at < last - PROMPT for key, at in begun.items() if key not in done)
        return +seen, {str(message[2]) for message in ended if (message[1], message[4]) == ("post", "ok")}


@contextlib.contextmanager
def load(operator: Operator, output: Path, rate: float) -> Iterator[Load]:
    """Send GETs of the front page, and the POSTs of the service's drills, to the site until the end of the block."""
    stack = stack_of(operator)
    kept = store.read(stack)
    address = str(stack.settings(Balancer).virtual_address)
    asked = {
        "address": address,
        "name": address,
        "authority": kept.pki["authority"]["chain"],
        "path": "/",
        "rate": rate,
        "seconds": 1200,
        "post": generators.written(stack, store.vault(kept), f"rotation-{time.time():.0f}"),
    }
    running = Load(stack.lab_name, asked, output)
    try:
        until(lambda: running.answered("post") >= 20)
        yield running
        answered = running.answered("post")
        until(lambda: running.answered("post") >= answered + 40)
    finally:
        running.stop()
