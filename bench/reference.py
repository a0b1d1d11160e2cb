"""Times `inv deploy` with the reference work (reference_role.py), as ratios to floors measured in the same run.

Usage: reference.py [--case=noop,change,converge] [--hosts=1,8,32] [--runs=N] [--lab=FOLDER]; needs root. The hosts are
lab hosts; with --lab they stay up, and the next run with the same folder starts at once.

The floor is bare paramiko (bench/floor.py) on all hosts at once. For a run that changes nothing, it is one exec of the
same probe. For a small change, and for a first converge of hosts that have the packages, a second exec does the work by
hand. Both sides are whole processes, run in turns. Every run is verified on the hosts: contents, owners, modes,
packages, users, units and the kernel parameter must be as wanted. A run that changes nothing must not touch anything,
and a small change must touch exactly five files and one unit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import noop, reference_host, reference_role
from plainstack.engine.role import shape
from plainstack.inventory import load as inventories
from plainstack.roles import registry
from plainstack.ssh.connections import Sessions, fan_out

ROOT = Path(__file__).resolve().parent.parent
# Rounds by the number of hosts. A round is one run of each side, or two runs for a change, which is then reverted.
RUNS = {"noop": {1: 9, 8: 7, 32: 5}, "change": {1: 4, 8: 2, 32: 1}, "converge": {1: 3, 8: 2, 32: 1}}
INV = str(Path(sys.executable).with_name("inv"))


class Wrong(Exception):
    """A run did not do what it was timed for."""


class Bench:
    """The first `count` hosts of the lab, and the two ways to do the work on them: `tool` and `floor`."""

    def __init__(self, folder: Path, count: int) -> None:
        self.inventory = inventory(folder, count)
        self.stack = inventories.load(self.inventory, shape(registry()))
        self.sessions = Sessions(self.stack)
        self.numbers = {name: int(name[1:]) for name in self.stack.hosts}
        self.job_file = folder / "job.json"
        self.job = noop.job(str(self.inventory))

    def everywhere(self, script: Callable[[int], str]) -> dict[str, str]:
        """Run a script on all hosts and return its output by host; `script` returns it for a host's number."""

        def one(name: str) -> str:
            return self.sessions.to(name).script(script(self.numbers[name]), timeout=300).out

        answers = fan_out(self.numbers, one)
        if bad := [answer for answer in answers.values() if not isinstance(answer, str)]:
            raise bad[0]
        return {name: str(answer) for name, answer in answers.items()}

    def touched(self) -> dict[str, str]:
        """Return, by host, the output of TOUCHED: every file and start of a unit that a run could change."""
        return self.everywhere(lambda _: reference_host.TOUCHED)

    def verify(self, tuning: int) -> None:
        """Raise Wrong unless every host is in the wanted state."""
        for name, seen in self.everywhere(lambda _: reference_host.STATE).items():
            wanted = reference_host.state(self.numbers[name], tuning)
            if seen != wanted:
                lines = sorted(set(wanted.splitlines()) - set(seen.splitlines()))
                raise Wrong(f"{name} is not as wanted: {lines[:5]}")

    def tool(self, tuning: int = 10) -> float:
        """Return how many seconds one `inv deploy` takes."""
        return seconds(*deploy(self.inventory), env={reference_role.TUNING: str(tuning)})

    def floor(self, deed: Callable[[int], str] | None = None) -> float:
        """Return how many seconds bare paramiko takes for the probe and, if given, the script of `deed`."""
        job = json.loads(json.dumps(self.job))
        if deed is not None:
            for name, host in job["hosts"].items():
                host["scripts"].append(deed(self.numbers[name]))
        self.job_file.write_text(json.dumps(job), encoding="utf-8")
        return seconds(sys.executable, str(ROOT / "bench/floor.py"), str(self.job_file))


def noop_case(bench: Bench) -> tuple[list[float], list[float]]:
    """Time a run that changes nothing, and check that it touches nothing."""
    before = bench.touched()
    ours, bare = [bench.tool()], [bench.floor()]
    if bench.touched() != before:
        raise Wrong("a run that changes nothing touched something")
    bench.verify(10)
    return ours, bare


def change_case(bench: Bench) -> tuple[list[float], list[float]]:
    """Time a change of the variable and its reversal: five files and one restart each time."""

    def by_hand(tuning: int) -> float:
        return bench.floor(lambda number: reference_host.change(number, tuning))

    def both_ways(run: Callable[[int], float]) -> list[float]:
        times = []
        for tuning in (20, 10):
            before = bench.touched()
            times.append(run(tuning))
            after = bench.touched()
            bench.verify(tuning)
            for name in before:
                found = reference_host.touched(before[name], after[name])
                found = {path for path in found if not path.startswith("/var/lib/plainstack/")}
                if found != {*reference_role.CHANGING, reference_role.UNITS[0]}:
                    raise Wrong(f"{name}: a small change touched {sorted(found)}")
        return times

    return both_ways(bench.tool), both_ways(by_hand)


def converge_case(bench: Bench) -> tuple[list[float], list[float]]:
    """Time all the work on hosts that have only the packages: first by hand, so that the tool's result stays."""

    def on_bare_hosts(run: Callable[[], float]) -> list[float]:
        bench.everywhere(lambda _: reference_host.RESET)
        times = [run()]
        bench.verify(10)
        return times

    bare = on_bare_hosts(lambda: bench.floor(lambda number: reference_host.converge(number, 10)))
    return on_bare_hosts(bench.tool), bare


CASES = {"noop": noop_case, "change": change_case, "converge": converge_case}


def deploy(inventory: Path) -> tuple[str, ...]:
    """Return the command that does the reference work on the hosts of an inventory."""
    tasks = (f"--search-root={ROOT}/bench/reference_work", "--collection=reference_tasks")
    return (INV, *tasks, "deploy", f"--inventory={inventory}")


def inventory(folder: Path, hosts: int) -> Path:
    """Write an inventory of the first `hosts` hosts and return its path; the lab's name is unique to this checkout."""
    name = f"bench-{sha256(str(ROOT).encode()).hexdigest()[:8]}"
    lines = ["stack: bench", "ssh: {user: root, gateway: lab}", f"lab: {{name: {name}}}", "hosts:"]
    lines += [f"  h{number:02d}: {{address: {reference_role.address(number)}}}" for number in range(1, hosts + 1)]
    path = folder / f"hosts-{hosts}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def seconds(*command: str, env: dict[str, str] | None = None) -> float:
    """Return the wall time of one process, or end the benchmark if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took


def measure(folder: Path, cases: list[str], counts: list[int], runs: int) -> None:
    """Print one line of the table for each case and number of hosts."""
    print("case      hosts  runs  deploy s (min-max)       floor s (min-max)        ratio")
    for count in counts:
        bench = Bench(folder, count)
        with bench.sessions:
            # The first deploy installs the packages, and fills the tool's caches.
            bench.tool()
            bench.verify(10)
            for case in cases:
                pairs = [CASES[case](bench) for _ in range(runs or RUNS[case].get(count, 3))]
                ours, bare = ([value for pair in pairs for value in pair[side]] for side in (0, 1))
                ratio = statistics.median(ours) / statistics.median(bare)
                line = f"{case:<8} {count:>6} {len(ours):>5}  {_spread(ours)}  {_spread(bare)}  {ratio:>6.2f}"
                print(line, flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):>7.2f} ({min(values):.2f}-{max(values):.2f})".ljust(23)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default=",".join(CASES), help="which, with commas between them")
    parser.add_argument("--hosts", default="1,8,32", help="how many, with commas between the numbers")
    parser.add_argument("--runs", type=int, default=0, help="rounds of each (default: by case and hosts)")
    parser.add_argument("--lab", default="", help="a folder; the lab whose keys it holds stays up")
    given = parser.parse_args()
    counts = [int(count) for count in given.hosts.split(",")]
    cases = given.case.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    reference_role.install()
    with tempfile.TemporaryDirectory(prefix="plainstack-bench-") as temporary:
        folder = Path(given.lab or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        whole = inventory(folder, max(counts))
        seconds(INV, "lab.up", f"--inventory={whole}")
        try:
            measure(folder, cases, counts, given.runs)
        finally:
            if not given.lab:
                seconds(INV, "lab.down", f"--inventory={whole}")


if __name__ == "__main__":
    main()
