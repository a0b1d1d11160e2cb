"""Times `inv deploy` when nothing has changed, as a ratio to bare paramiko (floor.py) that runs the same probe.

Usage: noop.py [--inventory=FILE] [--runs=N]; the stack must be deployed. Both sides are whole processes, including
Python's start-up, and run in turns, so that a busy moment affects both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def job(inventory: str) -> dict[str, object]:
    """Return the job for floor.py, as JSON data: the same probes on the same hosts as a deploy."""
    from plainstack.cli.command import load, roles_of
    from plainstack.deploy.observe import Observer
    from plainstack.ssh.connections import known_hosts
    from plainstack.ssh.ways import operator_key

    stack = load(inventory)
    with Observer(stack, roles_of(stack), (), tuple(stack.hosts)) as observer:
        observer.render()
        hosts = {
            name: {"address": str(stack.hosts[name].address), "scripts": [probe]}
            for name, probe in observer.probes.items()
        }
    return {
        "namespace": f"plainstack-{stack.lab_name}",
        "user": stack.ssh.user,
        "key": str(operator_key(stack)),
        "known_hosts": str(known_hosts(stack)),
        "hosts": hosts,
    }


def seconds(*command: str) -> float:
    """Return the wall time of one whole process, or end the benchmark if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0 or ("deploy" in command and "nothing to do" not in done.stdout):
        raise SystemExit(f"{' '.join(command)} did not end as expected:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", default="hosts.yaml")
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    work = job(given.inventory)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(work, file)
        file.flush()
        floor = (sys.executable, str(ROOT / "bench/floor.py"), file.name)
        inv = (str(Path(sys.executable).with_name("inv")), "deploy", f"--inventory={given.inventory}")
        seconds(*floor)
        seconds(*inv)
        pairs = [(seconds(*inv), seconds(*floor)) for _ in range(given.runs)]
    deploys, floors = zip(*pairs, strict=True)
    hosts = work["hosts"]
    assert isinstance(hosts, dict)
    print(f"no-op deploy of {len(hosts)} hosts, {given.runs} runs in turns, whole processes, wall seconds")
    for name, values in (("inv deploy", deploys), ("floor (bare paramiko, same probe)", floors)):
        print(f"  {name:<36} median {statistics.median(values):.2f}  min {min(values):.2f}  max {max(values):.2f}")
    print(f"  ratio of medians {statistics.median(deploys) / statistics.median(floors):.2f}", end="")
    print(f", of minima {min(deploys) / min(floors):.2f}")


if __name__ == "__main__":
    main()
