"""The keys of a team, and its inventory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from plainstack.inventory.stack import Stack

TEXT = "stack: shop\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\ndatabase: {name: shop}\n"


def make_key(path: Path, *options: str) -> str:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{path.name}@laptop", "-f", str(path), *options]
    subprocess.run(words, check=True)
    return path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").strip()


Team = Callable[..., Stack]
