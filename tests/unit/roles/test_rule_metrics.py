"""Alerts read only metrics that something in the same stack writes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import File

# The check of the deployed hosts knows which metrics exist only sometimes. mypy knows it under another name.
CHECK = importlib.import_module("checks.test_monitoring")


def test_each_metric_of_plainstack_that_a_rule_reads_is_written_by_a_file_of_the_stack(
    desired: Mapping[str, HostDesired],
) -> None:
    files = [item for host in desired.values() for items in host.values() for item in items if isinstance(item, File)]
    rules = [one for one in files if "/prometheus/rules/" in one.path]
    others = " ".join(one.content.decode(errors="replace") for one in files if one not in rules)
    expressions = " ".join(re.sub(r'"[^"]*"', "", one.content.decode()) for one in rules)
    read = {name for name in CHECK._METRIC.findall(expressions) if name.startswith("plainstack_")} - CHECK._RARE
    assert len(read) > 10
    assert {name for name in read if name not in others} == set()
