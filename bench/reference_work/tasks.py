"""`inv deploy` as it is, with the reference work as the only role: inv --search-root=bench/reference_work deploy."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from bench import reference_role

reference_role.install()

# Under another name: this file is `tasks` itself.
spec = spec_from_file_location("plainstack_tasks", Path(reference_role.__file__).parent.parent / "tasks.py")
assert spec is not None
assert spec.loader is not None
shipped = module_from_spec(spec)
spec.loader.exec_module(shipped)
namespace = shipped.namespace
