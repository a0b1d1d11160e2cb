"""How a reference can be quoted: `${database.password|python}` is the value as a string of Python, with its quotes."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping


def _yaml(value: str) -> str:
    # The load generator of drills resolves references, too, and runs without PyYAML.
    import yaml

    return yaml.safe_dump(value, default_style='"', width=math.inf).removesuffix("\n")


QUOTINGS: Mapping[str, Callable[[str], str]] = {"json": json.dumps, "python": repr, "shell": shlex.quote, "yaml": _yaml}
"""Functions by name; each returns a literal on one line that its language reads as the value."""
