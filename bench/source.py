"""Times how a release of 10,000 files is read, as a ratio to reading and hashing all of the files once.

Usage: source.py [--files=N] [--runs=N]; no host is needed. `first` is without the digests of an earlier run, `again`
with them. `plan` is all that `inv plan` does before it asks the hosts, with the digests, and `empty` the same for a
source of one file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

INVENTORY = """
stack: bench
hosts: {a: {address: 10.0.0.2, roles: [app]}}
services: {tool: {kind: binary, source: src, processes: {run: {command: tool}}}}
"""


def make(folder: Path, count: int) -> None:
    """Write a source of `count` files of 3 KB, 50 in a folder, as old as a checkout of some seconds ago."""
    for number in range(count):
        path = folder / f"d{number // 50}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1500) * 2)
    (folder / "tool").write_text("x")


def floor(folder: Path) -> None:
    """Read and hash every file once."""
    for above, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(above, name), "rb") as file:  # noqa: PTH123, PTH118 - the floor
                sha256(file.read()).digest()


def seconds(what: Callable[[], object]) -> float:
    """Return the processor time that a call takes."""
    began = time.process_time()
    what()
    return time.process_time() - began


def plan(folder: Path) -> None:
    """Do what `inv plan` does before it asks the hosts: check the stack, and render what each host should have."""
    from plainstack.cli.command import load, roles_of
    from plainstack.deploy.observe import Observer
    from plainstack.engine.desired import check

    stack = load(str(folder / "hosts.yaml"))
    registry = roles_of(stack)
    check(stack, registry, (), tuple(stack.hosts), datetime.now(UTC))
    with Observer(stack, registry, (), tuple(stack.hosts)) as observer:
        observer.render()


def main() -> None:
    from plainstack.services import digests, release
    from tests import inventories

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder / "src", given.files)
        make(folder / "small" / "src", 1)
        for place in (folder, folder / "small"):
            (place / "hosts.yaml").write_text(INVENTORY, encoding="utf-8")
        plan(folder / "small")
        stack = inventories.parse(INVENTORY, "hosts.yaml", folder)
        newest = (folder / "src" / "tool").stat().st_ctime_ns
        while not digests.settled((0, newest, newest, 0, 0), time.time_ns()):
            floor(folder / "src")
        cache = stack.state / "digests" / "tool.json"
        spent: dict[str, list[float]] = {"floor": [], "first": [], "again": [], "empty": [], "plan": []}
        for _ in range(given.runs):
            cache.unlink(missing_ok=True)
            spent["floor"].append(seconds(lambda: floor(folder / "src")))
            spent["first"].append(seconds(lambda: release.read(stack, "tool")))
            spent["again"].append(seconds(lambda: release.read(stack, "tool")))
            spent["empty"].append(seconds(lambda: plan(folder / "small")))
            spent["plan"].append(seconds(lambda: plan(folder)))
    medians = {name: statistics.median(found) for name, found in spent.items()}
    for name, median in medians.items():
        print(f"{name:<6} {median:.3f} s of processor time  {median / medians['floor']:.2f} x the floor")


if __name__ == "__main__":
    main()
