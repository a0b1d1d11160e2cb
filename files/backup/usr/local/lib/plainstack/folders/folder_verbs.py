"""The command line: take, test, list, send and connect on the backup host, answer and restore on hosts of services."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import channel
import exchange
import gathering
import snapshots
from snapshots import Config, Folder, Snapshot


def main(words: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    os.umask(0o077)
    verb, *rest = words
    if verb == "connect":
        # rsync adds the host and its own command to what it was told to call.
        action, key, port, host, *command = rest
        return asyncio.run(channel.connect(action, key, host, int(port), " ".join(command)))
    try:
        return _VERBS[verb](rest)
    except (exchange.Refused, gathering.Failed) as error:
        sys.stderr.write(f"{error}\n")
        return 1


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (config.root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take(_words: Sequence[str]) -> int:
    while True:
        config = Config.read()
        with _alone(config):
            problems = gathering.take(config)
        # systemd does not start another run for a deploy that has changed the folders meanwhile.
        if not config.changed():
            return _report(config, problems)


def _test(_words: Sequence[str]) -> int:
    config = Config.read()
    with _alone(config):
        problems = gathering.test(config)
    return _report(config, problems)


def _report(config: Config, problems: Sequence[str]) -> int:
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        (Path(folder) / "new").write_text(gathering.metrics(config))
    # The priority makes the problems easy to find in the journal; see sd-daemon(3).
    level = "<3>" if "JOURNAL_STREAM" in os.environ else ""
    sys.stderr.write("".join(f"{level}{problem}\n" for problem in problems))
    return 1 if problems else 0


def _list(_words: Sequence[str]) -> int:
    config = Config.read()
    found = [one.as_data() for _, known in snapshots.every(config.root) for one in known]
    state = snapshots.state(config.root)
    sys.stdout.write(json.dumps({"snapshots": found, **state}) + "\n")
    return 0


def _send(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="folders send")
    for name in ("service", "folder", "source", "snapshot", "host"):
        parser.add_argument(f"--{name}", required=True)
    asked = parser.parse_args(words)
    config = Config.read()
    folder = Folder(asked.service, asked.folder, asked.source)
    # Retention must not remove the snapshot meanwhile.
    with _alone(config):
        gathering.send(config, _snapshot(config, folder, asked.snapshot), asked.host)
    return 0


def _snapshot(config: Config, folder: Folder, name: str) -> Snapshot:
    for one in snapshots.of(folder, config.root):
        if one.id == name:
            return one
    raise gathering.Failed(f"{folder.says}: there is no snapshot {name}. See: inv backups")


def _answer(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="folders answer")
    parser.add_argument("--from", action="append", dest="admitted", default=[])
    parser.add_argument("folders", nargs="*", metavar="SERVICE/FOLDER=DATA")
    asked = parser.parse_args(words)
    known: dict[str, dict[str, str]] = {channel.READ: {}, channel.WRITE: {}}
    for one in asked.folders:
        key, _, data = one.partition("=")
        place = exchange.Place(Path(data), key.partition("/")[2], "")
        known[channel.READ][key] = str(place.target)
        known[channel.WRITE][key] = str(place.new)
    return asyncio.run(channel.answer(asked.admitted, known))


def _restore(words: Sequence[str]) -> int:
    """Do a step of a restore on the host of the service, and print what it yields."""
    parser = argparse.ArgumentParser(prog="folders restore")
    parser.add_argument("step", choices=("prepare", "swap", "undo", "finish", "discard"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--id", default="")
    parser.add_argument("--snapshot", default="")
    parser.add_argument("--size", type=int, default=0)
    asked = parser.parse_args(words)
    place = exchange.Place(asked.data, asked.folder, asked.account)
    if asked.step == "prepare":
        restore, copied = exchange.prepare(place, asked.id, asked.snapshot, asked.size)
        sys.stdout.write(f"{restore} {'copied' if copied else 'empty'}\n")
    elif asked.step == "swap":
        exchange.swap(place, asked.id)
    elif asked.step == "undo":
        sys.stdout.write(exchange.undo(place, asked.id) + "\n")
    elif asked.step == "finish":
        place.finish(asked.id)
    else:
        sys.stdout.writelines(f"{path}\n" for path in exchange.discard(place, asked.id))
    return 0


_VERBS = {"take": _take, "test": _test, "list": _list, "send": _send, "answer": _answer, "restore": _restore}
