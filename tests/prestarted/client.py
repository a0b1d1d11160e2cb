"""Hand a command line to the server, with this process's variables, folder and streams; exit as the command does."""

import array
import os
import signal
import socket
import sys


def main() -> None:
    place, *words = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        folder = os.getcwd()  # noqa: PTH109 - pathlib takes long to import
        parts = [folder, str(len(words)), *words, *(f"{name}={value}" for name, value in os.environ.items())]
        request = "\0".join(parts).encode(errors="surrogateescape")
        streams = array.array("i", [0, 1, 2])
        server.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        server.sendall(request)
        # From here on, only the command has these streams: its reader is to see their end when it ends.
        for stream in (0, 1, 2):
            os.close(stream)
        answer = server.recv(4)
    # No answer: the server has ended.
    code = int.from_bytes(answer, "big", signed=True) if answer else 125
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
