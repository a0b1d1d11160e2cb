"""Runs `inv deploy` with one made-up role that has N files on each host; the scale benchmark times it.

Usage: files_deploy.py N INVENTORY [probes]; with `probes`, it only prints the job for floor.py as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import only_role
from plainstack.engine.network import Network
from plainstack.engine.resources import Directory, File, Resource
from plainstack.engine.role import Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault


def files(count: int) -> Role:
    """Return a role that has `count - 1` files of about 1 KiB and their folder on every host."""

    def desired(_stack: Stack, host: Host, _vault: Vault, _network: Network) -> Iterator[Resource]:
        yield Directory(path="/srv/bench")
        for number in range(count - 1):
            line = f"{host.name} {number}\n".encode()
            yield File(path=f"/srv/bench/{number:04d}.conf", content=line * (1024 // len(line)))

    return Role(name="files", desired=desired, everywhere=True)


def main() -> None:
    from plainstack.cli import deploy_commands

    role = files(int(sys.argv[1]))
    only_role.install(role)
    if sys.argv[3:] == ["probes"]:
        from bench.noop import job

        print(json.dumps(job(sys.argv[2])))
        return
    deploy_commands.deploy(sys.argv[2], "", "", json=False)


if __name__ == "__main__":
    main()
