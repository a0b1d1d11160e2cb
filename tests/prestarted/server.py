"""Import Plainstack, listen at a Unix socket, and fork for each command line that arrives; end with standard input."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

# Modules that look at the command line or replace the streams when they are imported; each command imports them itself.
_OWN = re.compile(r"plainstack\.cli\.(inv|fab|.*_tasks?|new_stack.*)")


def preload() -> None:
    """Import what commands import, and build the models of the inventory."""
    import fabric.main  # noqa: F401 - for the forked commands
    import invoke.main  # noqa: F401 - for the forked commands

    import plainstack

    for module in pkgutil.walk_packages(plainstack.__path__, "plainstack."):
        if not _OWN.fullmatch(module.name):
            importlib.import_module(module.name)
    from tests import inventories

    inventories.load(Path("hosts.yaml"))


def received(client: socket.socket) -> tuple[list[str], list[int]]:
    """Return the parts of a request, and the descriptors of the client's streams."""
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    request = bytearray()
    while len(request) < int.from_bytes(size, "big"):
        request += client.recv(1 << 20)
    return request.decode(errors="surrogateescape").split("\0"), streams


def serve(listener: socket.socket) -> list[str] | None:
    """Answer requests; return a command line in each process that is to run it, and None at the end of the server."""
    running: dict[int, tuple[int, socket.socket]] = {}
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    watched.register(0, selectors.EVENT_READ)
    while True:
        for found in [key.fd for key, _ in watched.select()]:
            if found == 0:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return None
            if found in running:
                watched.unregister(found)
                os.close(found)
                pid, client = running.pop(found)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError), client:
                    client.sendall(code.to_bytes(4, "big", signed=True))
                continue
            client = listener.accept()[0]
            (folder, count, *rest), streams = received(client)
            if pid := os.fork():
                for stream in streams:
                    os.close(stream)
                running[os.pidfd_open(pid)] = pid, client
                watched.register([*running][-1], selectors.EVENT_READ)
                continue
            for descriptor, (_, other) in running.items():
                os.close(descriptor)
                other.close()
            client.close()
            watched.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(folder)
            os.environ.clear()
            for name, _, value in (variable.partition("=") for variable in rest[int(count) :]):
                os.environ[name] = value
            return rest[: int(count)]


def main() -> None:
    preload()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        os.write(1, b"listening\n")
        gc.collect()
        gc.freeze()
        words = serve(listener)
    if words is None:
        os._exit(0)
    sys.argv = words
    sys.path[0] = str(Path(words[0]).parent)
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
