"""Links with a rate, a delay or a loss: the tc commands, and a check of this machine's kernel."""

from __future__ import annotations

import subprocess

from plainstack.lab.model import Branch, Lab
from plainstack.ssh.netns import LabError

# The longest time that a packet waits in the queue before it is dropped: "latency" in tc-tbf(8).
_QUEUE_MS = 400
# The bucket of tbf: 10 ms at the full rate, long enough for every kernel's timer, but at least ten large packets.
_BURST_SECONDS, _SMALLEST_BURST = 0.01, 15_000


def discipline(branch: Branch) -> str:
    """Return the queueing discipline for one direction of a branch's link: tbf for a rate alone, otherwise netem."""
    if branch.delay is None and branch.loss is None:
        rate = branch.rate or 0
        burst = max(int(rate / 8 * _BURST_SECONDS), _SMALLEST_BURST)
        return f"tbf rate {rate}bit burst {burst}b latency {_QUEUE_MS}ms"
    words = ["netem", "limit 10000"]
    if branch.delay is not None:
        words.append(f"delay {branch.delay}ms")
    if branch.loss is not None:
        words.append(f"loss {branch.loss:g}%")
    if branch.rate is not None:
        words.append(f"rate {branch.rate}bit")
    return " ".join(words)


def plan(lab: Lab) -> list[str]:
    """Return the tc commands that set the rate, delay and loss of the branches' links, in both directions."""
    return [
        f"qdisc replace dev {end} root {discipline(branch)}"
        for branch in lab.branches
        for network in lab.networks
        for end in branch.trunk(network)
    ]


def check(lab: Lab) -> None:
    """Raise LabError if a link needs something that this machine's kernel does not support."""
    needing = [branch.name for branch in lab.branches if branch.delay is not None or branch.loss is not None]
    if needing and (why := _without_netem()):
        raise LabError(
            f"lab.links.{needing[0]}: delay and loss need netem, which this machine's kernel does not have"
            f" ({why}). Remove them (rate works without netem), or use a kernel with CONFIG_NET_SCH_NETEM"
        )


def _without_netem() -> str:
    """Try netem in a temporary network namespace; return tc's error if the kernel lacks it, otherwise ""."""
    command = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["tc printed nothing"])[0]
