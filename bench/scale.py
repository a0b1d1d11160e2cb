"""Times a deploy that changes nothing on 1, 8 and 32 lab hosts with 400 files each, and the floor; needs root.

Not part of `make bench`, which runs the reference work. Prints one table: the median wall seconds of whole processes,
run in turns, and the ratio to the floor.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOSTS, FILES, RUNS = (1, 8, 32), 400, 3


def inventory(folder: Path, hosts: int) -> Path:
    """Write an inventory of the first `hosts` hosts of the benchmark's lab, and return its path."""
    lines = ["stack: benchscale", "ssh: {user: root, gateway: lab}", "hosts:"]
    lines += [f"  h{number:02d}: {{address: 192.168.64.{number + 10}}}" for number in range(1, hosts + 1)]
    path = folder / f"hosts-{hosts}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def seconds(*command: str) -> float:
    """Return the wall time of one process, or end the benchmark if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took


def row(folder: Path, hosts: int, files: int) -> str:
    """Measure one combination of hosts and files, and return its line of the table."""
    deploy = (sys.executable, "bench/files_deploy.py", str(files), str(inventory(folder, hosts)))
    job = folder / f"job-{hosts}-{files}.json"
    floor = (sys.executable, "bench/floor.py", str(job))
    seconds(*deploy)
    made = subprocess.run((*deploy, "probes"), cwd=ROOT, capture_output=True, text=True, check=True)
    job.write_text(made.stdout, encoding="utf-8")
    pairs = [(seconds(*deploy), seconds(*floor)) for _ in range(RUNS)]
    ours, bare = (statistics.median(values) for values in zip(*pairs, strict=True))
    return f"{hosts:>5}  {files:>5}  {ours:>8.2f}  {bare:>8.2f}  {ours / bare:>6.2f}  {1000 * ours / hosts:>10.0f}"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="plainstack-bench-") as name:
        folder = Path(name)
        inv = str(Path(sys.executable).with_name("inv"))
        whole = inventory(folder, max(HOSTS))
        seconds(inv, "lab.up", f"--inventory={whole}")
        try:
            print("hosts  files  deploy s   floor s   ratio  ms a host")
            for hosts in HOSTS:
                print(row(folder, hosts, FILES), flush=True)
        finally:
            seconds(inv, "lab.down", f"--inventory={whole}")


if __name__ == "__main__":
    main()
