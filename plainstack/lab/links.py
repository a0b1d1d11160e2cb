"""Links that are slower, farther or worse than a cable: what tc is asked for, and what the kernel can do."""

from __future__ import annotations

import subprocess

from plainstack.lab.model import Branch, Lab
from plainstack.ssh.netns import LabError

# Until a packet has waited so long for its turn it is kept: tc-tbf(8), "latency".
_QUEUE_MS = 400
# What may pass at once: 10 ms at full rate, which every kernel's timer can keep up with; ten large packets at least.
_BURST_SECONDS, _SMALLEST_BURST = 0.01, 15_000


def discipline(branch: Branch) -> str:
    """Word the queueing discipline of one direction of a branch's link: tbf for a rate alone, else netem."""
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
    """Word the tc commands that give the branches' links their quality, in both directions."""
    return [
        f"qdisc replace dev {end} root {discipline(branch)}"
        for branch in lab.branches
        for network in lab.networks
        for end in branch.trunk(network)
    ]


def check(lab: Lab) -> None:
    """Raise LabError when a link is to have what this machine's kernel cannot do."""
    needing = [branch.name for branch in lab.branches if branch.delay is not None or branch.loss is not None]
    if needing and (why := _without_netem()):
        raise LabError(
            f"lab.links.{needing[0]}: delay and loss need netem, which this machine's kernel does not have ({why});"
            " leave them out (rate works), or use a kernel with CONFIG_NET_SCH_NETEM"
        )


def _without_netem() -> str:
    """Why the kernel has no netem, as tc says it; empty when it has. Tried in a network namespace that ends with it."""
    command = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["tc says nothing"])[0]
