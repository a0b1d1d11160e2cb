"""Times `inv verify` with all hosts at once, as a ratio to the same checks on one host after the other.

Usage: verify.py [--inventory=FILE]; the stack must be deployed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = """\
from plainstack.cli import operate_commands
operate_commands.verify({inventory!r}, '', '', json=False, serial={serial})
"""


def seconds(inventory: str, *, serial: bool) -> float:
    """Return the wall time of one whole run of the checks, or end the benchmark if a check fails."""
    began = time.perf_counter()
    code = CODE.format(inventory=inventory, serial=serial)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", default="hosts.yaml")
    given = parser.parse_args()
    together = seconds(given.inventory, serial=False)
    in_turn = seconds(given.inventory, serial=True)
    print(f"verify: {together:.1f} s with all hosts at once, {in_turn:.1f} s one after the other,", end=" ")
    print(f"ratio {together / in_turn:.2f}")


if __name__ == "__main__":
    main()
