"""The cache of this balancer: `purge JSON` removes responses, `watch` removes old ones and writes metrics."""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import cache_files
import cache_log

ROOT = Path(os.environ.get("ROOT", "/"))
METRICS = ROOT / "var/lib/prometheus/node-exporter/plainstack_cache.prom"
# Seconds between two looks at the log, and how many of them until the next look at the files.
COUNT, SWEEP = 5, 12


def watch(settings: dict) -> None:
    log = cache_log.Log(Path(settings["log"]))
    counts = Counter()
    number = size = 0
    while True:
        if number % SWEEP == 0:
            _, size = cache_files.sweep(settings["folder"], settings["stale"], time.time())
        number += 1
        counts.update(log.added())
        if METRICS.parent.is_dir():
            half = METRICS.with_suffix(".half")
            half.write_text(cache_log.metrics(counts, settings["services"], size, settings["limit"]))
            half.rename(METRICS)
        time.sleep(COUNT)


def main(words: list[str]) -> int:
    settings = json.loads((ROOT / "etc/plainstack/balancer/cache.json").read_text())
    for key in ("folder", "log"):
        settings[key] = str(ROOT / settings[key].lstrip("/"))
    if words == ["watch"]:
        watch(settings)
    if len(words) == 2 and words[0] == "purge":
        wanted = json.loads(words[1])
        sys.stdout.write(f"purged={cache_files.purge(settings['folder'], **wanted)}\n")
        return 0
    sys.stderr.write(f"{__doc__}\n")
    return 2


sys.exit(main(sys.argv[1:]))
