"""The connection between the backup host and a host of a service: TLS with the certificates of both, for rsync."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

TLS = "/etc/plainstack/tls"
# Seconds in which the other host must have answered.
_PATIENCE = 20
_CHUNK = 2**18
_RRSYNC = "/usr/bin/rrsync"
# What the backup host may do with a folder on a host of a service, as rrsync's option.
READ, WRITE = "read", "write"
_OPTIONS = {READ: "-ro", WRITE: "-wo"}


def context(tls: str = TLS, *, server: bool) -> ssl.SSLContext:
    """Return the settings of one side: both must have a certificate of the stack's authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(f"{tls}/host.crt", f"{tls}/host.key")
    made.load_verify_locations(f"{tls}/ca.crt")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def refusal(
    names: Collection[str],
    admitted: Collection[str],
    request: str,
    folders: Mapping[str, Mapping[str, str]],
) -> tuple[str, list[str], str]:
    """Return why a request is refused ("" if it is not), the command that answers it, and what rsync asked for.

    `names` are those of the other host's certificate. `folders` has, for each verb, the allowed folders by key.
    """
    verb, _, rest = request.partition(" ")
    key, _, command = rest.partition(" ")
    if not set(names) & set(admitted):
        return f"it does not admit {' or '.join(sorted(names)) or 'a host without a name'}", [], ""
    if verb not in _OPTIONS or not command.startswith("rsync --server"):
        return "it does not understand the request", [], ""
    folder = folders.get(verb, {}).get(key)
    if folder is None:
        return f"{key} is not backed up there. Deploy: inv deploy", [], ""
    if not Path(folder).is_dir():
        why = "no restore has prepared the folder" if verb == WRITE else "the folder does not exist"
        return f"{key}: {why}", [], ""
    return "", [_RRSYNC, _OPTIONS[verb], "-no-lock", folder], command


async def answer(admitted: Collection[str], folders: Mapping[str, Mapping[str, str]], tls: str = TLS) -> int:
    """Answer the connection that is this process's standard input; return the exit code."""
    accepted = socket.socket(fileno=0)
    accepted.setblocking(False)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, accepted, ssl=context(tls, server=True), ssl_handshake_timeout=_PATIENCE
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    seen = transport.get_extra_info("peercert") or {}
    names = {name for kind, name in seen.get("subjectAltName", ()) if kind == "DNS"}
    request = (await asyncio.wait_for(reader.readline(), _PATIENCE)).decode(errors="replace").rstrip("\n")
    why, words, command = refusal(names, admitted, request, folders)
    writer.write(f"no {why}\n".encode() if why else b"ok\n")
    if why:
        sys.stderr.write(f"refused: {why}\n")
        await _end(writer)
        return 1
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SSH_ORIGINAL_COMMAND": command}
    ran = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, limit=_CHUNK
    )
    assert ran.stdin
    assert ran.stdout
    incoming = asyncio.create_task(_copy(reader, ran.stdin))
    await _copy(ran.stdout, writer)
    incoming.cancel()
    return await ran.wait()


async def connect(verb: str, key: str, host: str, port: int, command: str, tls: str = TLS) -> int:
    """Be rsync's remote shell: pass its streams on to the host; return the exit code."""
    wanted = context(tls, server=False)
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host, port, ssl=wanted, server_hostname=host, limit=_CHUNK), _PATIENCE
        )
        writer.write(f"{verb} {key} {command}\n".encode())
        said = (await asyncio.wait_for(reader.readline(), _PATIENCE)).decode(errors="replace").strip()
    except (OSError, TimeoutError) as error:
        # str() of a time-out is empty.
        sys.stderr.write(f"{host} cannot be reached: {error or 'it does not answer'}\n")
        return 1
    if said != "ok":
        sys.stderr.write(f"{host} refuses: {said.removeprefix('no ') or 'it ended the connection'}\n")
        return 1
    loop = asyncio.get_running_loop()
    own = asyncio.StreamReader(limit=_CHUNK)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(own), os.fdopen(0, "rb", buffering=0))
    # A writer needs such a protocol, although nothing is read here.
    flow = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    out, _ = await loop.connect_write_pipe(lambda: flow, os.fdopen(1, "wb", buffering=0))
    incoming = asyncio.create_task(_copy(own, writer, half=True))
    await _copy(reader, asyncio.StreamWriter(out, flow, None, loop))
    incoming.cancel()
    return 0


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, half: bool = False) -> None:
    """Copy a stream to its end, and end the other one; with `half`, TLS has to stay open for the other direction."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    if not half:
        await _end(sink)


async def _end(sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        sink.close()
        await asyncio.wait_for(sink.wait_closed(), _PATIENCE)
