"""The usual tasks, with the reference work as the only role: inv --search-root=bench/reference_work deploy."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))


def load(path: str) -> Stack:
    """Load an inventory with the reference role; it is imported only now, because the tool also imports roles late."""
    from bench import reference_role

    reference_role.install()
    return shipped_load(path)


# Under another name, because this file is the module `tasks`.
spec = spec_from_file_location("plainstack_tasks", ROOT / "tasks.py")
if spec is None or spec.loader is None:
    raise ImportError("there is no tasks.py")
shipped = module_from_spec(spec)
spec.loader.exec_module(shipped)
namespace = shipped.namespace

from plainstack.cli import deploy_commands  # noqa: E402 - importable only once ROOT is in sys.path

shipped_load, deploy_commands.load = deploy_commands.load, load
