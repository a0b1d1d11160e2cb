"""Run tests again and again on a busy machine: `make stress T=tests/lab/test_change.py N=20`.

Beside them, one process per core does nothing but count, as long as this program runs and at most for six hours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 6 * 3600
# A busy process ends with its parent, even if that is killed: its stdin then reaches end-of-file.
BUSY = """
import select, sys, time
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until and not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep this many cores busy during the `with` block."""
    command = [sys.executable, "-c", BUSY, str(LONGEST)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> int:
    """Run the tests, report each run, and return the exit code: 1 if any run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="+", help="what pytest is to run: files, or file::test")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="how many cores are kept busy")
    asked = parser.parse_args()
    logs = Path(tempfile.mkdtemp(prefix="plainstack-stress-"))
    failed = []
    started = time.monotonic()
    with load(asked.busy):
        for number in range(1, asked.times + 1):
            began = time.monotonic()
            log = logs / f"{number}.log"
            with log.open("wb") as file:
                command = [sys.executable, "-m", "pytest", *asked.tests]
                code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
            failed += [number] if code else []
            said = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
            what = f"FAILED, see {log}" if code else "passed"
            sys.stdout.write(f"run {number} of {asked.times}: {what} ({time.monotonic() - began:.0f} s) {said}\n")
            sys.stdout.flush()
    if time.monotonic() - started > LONGEST:
        sys.stdout.write(f"only the first {LONGEST // 3600} hours had this load: run fewer times\n")
    sys.stdout.write(f"{len(failed)} of {asked.times} runs failed with {asked.busy} cores kept busy\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
