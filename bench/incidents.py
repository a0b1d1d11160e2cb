"""Times apps/incidents over many samples, in turns with 10,000, on a PostgreSQL server of its own.

Usage: incidents.py [--rows=10000000] [--folder=DIR]. The server is in a temporary folder, and ten million samples need
4 GB there. --folder is that of the socket of a server that runs already, whose superuser is `test`; its databases
`few` and `many` are kept and used again.

A fleet of 1,120 machines is polled every 15 minutes, so that ten million samples are those of 31 days. Prints the
median milliseconds of requests with their database work, of the database work of a round and of a posted sample, and
their ratio to those over 10,000 samples of the same fleet; and how long posting takes while the oldest day is pruned.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps/incidents"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.incidents_rows import MACHINES, fill
from tests import postgresql

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "apps/incidents"
FEW, RUNS, ROUNDS = 10_000, 7, 5
NAMES = ("few", "many")
PAGES = (
    *("/", "/?state=open", "/?kind=cpu&machine=m11", "/api/incidents", "/machines/", "/machines/1/"),
    *("/machines/1/?days=7", "/admin/incidents/sample/", "/admin/incidents/poll/", "/admin/incidents/incident/"),
)


def use(name: str) -> None:
    """Go on with another database."""
    from django.db import connection

    connection.close()
    connection.settings_dict["NAME"] = os.environ["DB_NAME"] = name
    connection.ensure_connection()


def prepare(folder: Path, rows: int) -> None:
    """Configure the application, and fill its two databases unless they are filled."""
    os.environ |= {"DB_HOSTS": str(folder), "DB_NAME": "template1", "DB_USER": "test", "DB_PASSWORD": "unused"}
    os.environ |= {"DJANGO_SETTINGS_MODULE": "incidents_site.settings", "DJANGO_DEBUG": "1", "POLL_INTERVAL": "900"}
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from incidents.models import Machine

    settings.DEBUG = False  # otherwise, Django keeps every query
    settings.ALLOWED_HOSTS = ["testserver"]
    for name, wanted in zip(NAMES, (FEW, rows), strict=True):
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_database where datname = %s", [name])
            if not cursor.fetchone():
                cursor.execute(f"create database {name}")
        use(name)
        call_command("migrate", verbosity=0)
        if not Machine.objects.exists():
            begun = time.perf_counter()
            print(f"{name}: {fill(wanted)} samples, filled in {time.perf_counter() - begun:.0f} s", flush=True)
        with connection.cursor() as cursor:
            cursor.execute("vacuum analyze")
            cursor.execute("checkpoint")


def milliseconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def get(clients: dict[str, Any], url: str) -> None:
    answer = clients[os.environ["DB_NAME"]].get(url)
    if answer.status_code != 200:
        raise SystemExit(f"{url}: {answer.status_code}")


def post() -> None:
    from incidents import intake

    intake.store(intake.parse({"machine": "m1", "metric": "cpu", "value": 20}))


def poll_all(dice: random.Random) -> None:
    """Poll the whole fleet in the next round, without a network; one machine in 30 is over a limit."""
    from django.conf import settings
    from incidents import rounds
    from incidents.answers import Answer
    from incidents.fetch import Result
    from incidents.models import Round

    at = Round.objects.latest("at").at + timedelta(seconds=settings.POLL_INTERVAL)
    current, chunks = rounds.begin(at)
    for pks in chunks:
        values = {pk: {name: dice.random() * 88 for name in ("cpu", "memory", "disk")} for pk in pks}
        rounds.store(current, {pk: Result("ok", "", Answer(each), at) for pk, each in values.items()})
    current.refresh_from_db()
    if sum(map(len, chunks)) != MACHINES or not current.finished_at:
        raise SystemExit("a round did not poll the whole fleet")


def in_turns(works: dict[str, Callable[[], Any]], runs: int) -> Iterator[tuple[str, list[float]]]:
    """Yield for each work its median milliseconds over few samples, and over many."""
    for name, work in works.items():
        taken: dict[str, list[float]] = {each: [] for each in NAMES}
        for run in range(runs + 1):
            for each in NAMES:
                use(each)
                took = milliseconds(work)
                if run:  # the first one loads code and data
                    taken[each].append(took)
        yield name, [statistics.median(taken[each]) for each in NAMES]


def prune() -> None:
    """Delete the oldest day in a process of its own, and post samples meanwhile."""
    from incidents.models import Sample

    use("many")
    before = [milliseconds(post) for _ in range(300)]
    oldest = Sample.objects.earliest("taken_at").taken_at
    days = (datetime.now(UTC) - oldest) / timedelta(days=1) - 1
    begun, meanwhile = time.perf_counter(), []
    command = [sys.executable, "manage.py", "prune", f"--days={days}"]
    with subprocess.Popen(command, cwd=APP, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            meanwhile.append(milliseconds(post))
        took = time.perf_counter() - begun
        said = process.stdout.read().split("\n") if process.stdout else []
    print(f"prune of the oldest day: {', '.join(filter(None, said))} in {took:.1f} s")
    for name, values in (("before", before), ("meanwhile", meanwhile)):
        middle, high = statistics.median(values), statistics.quantiles(values, n=100)[98]
        print(f"posting {name}: median {middle:.1f} ms, 99 % below {high:.1f} ms, longest {max(values):.1f} ms")


@contextmanager
def server(folder: Path | None) -> Iterator[Path]:
    if folder:
        yield folder
    else:
        with postgresql.running() as own:
            yield own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with server(given.folder) as folder:
        prepare(folder, given.rows)
        from django.contrib.auth.models import User
        from django.test import Client

        clients = {name: Client() for name in NAMES}
        for name in NAMES:
            use(name)
            clients[name].force_login(User.objects.get_or_create(username="ann", is_staff=True, is_superuser=True)[0])
        dice = random.Random(1)
        print(f"{'ms':<36}{'few':>10}{'many':>10}{'ratio':>8}")
        for works, runs in (
            ({f"GET {url}": partial(get, clients, url) for url in PAGES}, RUNS),
            ({"POST /api/samples, database work": post}, 50),
            ({"a round, database work": partial(poll_all, dice)}, ROUNDS),
        ):
            for what, (few, many) in in_turns(works, runs):
                print(f"{what:<36}{few:>10.1f}{many:>10.1f}{many / few:>8.2f}", flush=True)
        prune()


if __name__ == "__main__":
    main()
