"""Compares a balancer with a plain nginx on the same host: rate, CPU time and latency of a 1 KB response, over TLS.

Usage: edge.py [--inventory=FILE] [--rounds=N] [--only=rate,latency,reloads] [--plain-log=off]; needs root, wrk
and h2load. Without --inventory it starts a lab of two hosts, and removes it.

The plain nginx has the stack's TLS settings and certificate, and otherwise what Debian's own nginx.conf says: an access
log (--plain-log=off: none), gzip, and no limits or headers. It passes requests on to the same application, over
connections that it keeps, or serves the same file, without a cache. No system call filter slows it, unlike the
balancer's unit. All four are measured in turns, from inside the lab's network, so that other work on this machine slows
all of them alike. CPU time is that of the nginx in question alone; rates include that of the client and of the
application, which share this machine.

Latencies are those of requests sent at half the rate, with and without the balancer, on connections that stay open.
Reloads are done once a second while 500 requests a second arrive on such connections; none may fail.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import edge_hosts
from bench.edge_hosts import Hosts

ROOT = Path(__file__).resolve().parent.parent
# A shared machine is faster in one moment than in the next, so many short turns compare better than few long ones.
RATE_SECONDS, RATE_TURNS, LATENCY_SECONDS, RELOAD_SECONDS = 1, 6, 5, 20
CONNECTIONS, REQUESTS = 16, 500


def rates(hosts: Hosts, rounds: int) -> float:
    """Print the rate and the CPU time of each target, and their ratios; return the rate through the balancer."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in hosts.targets}
    for _ in range(rounds * RATE_TURNS):
        for name, target in hosts.targets.items():
            before = hosts.cpu(target.unit)
            said = hosts.run("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{RATE_SECONDS}s", target.url)
            if "Non-2xx" in said or "Socket errors" in said:
                raise SystemExit(f"{name}:\n{said}")
            count = int(re.findall(r"(\d+) requests in", said)[0])
            rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])
            seen[name].append((rate, (hosts.cpu(target.unit) - before) / count * 1e6))
    for name, pairs in seen.items():
        rate, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<24} {rate:>8.0f} requests/s  {cpu:>6.1f} us of CPU each")
    for ours, plain in (("balancer", "plain nginx"), ("balancer, cached", "plain nginx, file")):
        both = list(zip(seen[ours], seen[plain], strict=True))
        rate = statistics.median(one[0] / other[0] for one, other in both)
        cpu = statistics.median(other[1] / one[1] for one, other in both)
        print(f"{ours} / {plain}: rate {rate:.2f}, requests per CPU second {cpu:.2f}")
    return statistics.median(rate for rate, _ in seen["balancer"])


def latencies(hosts: Hosts, rate: int, rounds: int) -> None:
    """Print the median and the 99th percentile of the latency, through the balancer and without it."""
    seen: dict[str, list[tuple[float, float]]] = {"balancer": [], "application": []}
    for _ in range(rounds):
        for name, values in seen.items():
            times = hosts.times(name, rate, CONNECTIONS, LATENCY_SECONDS)
            values.append((statistics.median(times), statistics.quantiles(times, n=100)[98]))
    for name, values in seen.items():
        middle, high = (statistics.median(each) for each in zip(*values, strict=True))
        print(f"{name} at {rate} requests/s: median {middle:.2f} ms, 99 % below {high:.2f} ms")
    pairs = zip(seen["balancer"], seen["application"], strict=True)
    added = statistics.median(one[1] - other[1] for one, other in pairs)
    print(f"added by the balancer: {added:.2f} ms at 99 %")


def reloads(hosts: Hosts) -> None:
    """Print how many requests fail while the balancer is reloaded once a second."""
    count = 0
    with tempfile.TemporaryFile("w+") as output:
        load = hosts.load(REQUESTS, RELOAD_SECONDS, output)
        try:
            for _ in range(RELOAD_SECONDS - 1):
                time.sleep(1)
                hosts.on("lb1", "systemctl reload nginx")
                count += 1
            load.wait(timeout=60)
        finally:
            load.kill()
            load.communicate()
        output.seek(0)
        messages = [json.loads(line) for line in output]
    outcomes = Counter(str(message[-1]) for message in messages if message[0] == "end")
    begun = sum(message[0] == "begin" for message in messages)
    failed = begun - outcomes["ok"]
    print(f"{count} reloads at {REQUESTS} requests/s: {failed} of {begun} failed", dict(outcomes))
    # The client has a limited number of threads, and this machine may be too busy for it.
    if late := [message[3] for message in messages if message[0] == "skip"]:
        print(f"{len(late)} more were not sent in time, {min(late):.1f} to {max(late):.1f} s after the begin")


def measure(hosts: Hosts, only: Sequence[str], rounds: int) -> None:
    """Print all results."""
    rate = 2000.0
    if "rate" in only:
        rate = rates(hosts, rounds)
    if "latency" in only:
        latencies(hosts, int(rate / 2), rounds)
    if "reloads" in only:
        reloads(hosts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", default="", help="a deployed inventory as `edge_hosts.inventory` writes it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain-log", choices=("on", "off"), default="on")
    parser.add_argument("--only", default="rate,latency,reloads")
    given = parser.parse_args()
    only, log = given.only.split(","), given.plain_log == "on"
    if given.inventory:
        with edge_hosts.beside(Path(given.inventory).resolve(), log=log) as hosts:
            measure(hosts, only, given.rounds)
        return
    inv = str(Path(sys.executable).with_name("inv"))
    with tempfile.TemporaryDirectory(prefix="plainstack-edge-") as folder:
        inventory = edge_hosts.inventory(Path(folder))
        try:
            for command in ("lab.up", "deploy"):
                subprocess.run(
                    [inv, command, f"--inventory={inventory}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
                )
            with edge_hosts.beside(inventory, log=log) as hosts:
                measure(hosts, only, given.rounds)
        finally:
            subprocess.run([inv, "lab.down", f"--inventory={inventory}"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
