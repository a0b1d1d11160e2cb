"""What a page and a round cost does not grow with what is stored, nor with the number of machines."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest import mock, skipUnless

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext

from incidents import rounds
from incidents.answers import Answer
from incidents.fetch import Result
from incidents.models import Incident, Machine, Outcome, Poll, Round, Sample, Threshold
from incidents.pages import FirstPages

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LARGE = ("incidents_sample", "incidents_poll")


@override_settings(POLL_INTERVAL=900, LIMITS={})
class Many(TestCase):
    def machines(self, count: int) -> list[Machine]:
        before = Machine.objects.count()
        made = [Machine(name=f"m{n}", address="http://m.example/") for n in range(before, before + count)]
        return Machine.objects.bulk_create(made)

    def round(self, number: int, value: float = 99.0) -> None:
        at = BEGIN + timedelta(minutes=15 * number)
        current, chunks = rounds.begin(at)
        for pks in chunks:
            answer = Answer(dict.fromkeys(("cpu", "memory", "disk"), value))
            rounds.store(current, {pk: Result(Outcome.OK, "", answer, at) for pk in pks})

    def queries(self, work: Callable[..., Any], *words: Any) -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            work(*words)
        return [query["sql"] for query in captured]

    def prune(self) -> str:
        out = StringIO()
        call_command("prune", days=0.001, stdout=out)
        return out.getvalue()


class Queries(Many):
    def test_a_round_over_more_machines_needs_no_more_queries(self) -> None:
        self.machines(3)
        self.round(0)
        few = [len(self.queries(self.round, number, value)) for number, value in ((1, 10.0), (2, 99.0))]
        self.machines(20)
        self.round(3)
        many = [len(self.queries(self.round, number, value)) for number, value in ((4, 10.0), (5, 99.0))]
        self.assertEqual(many, few)
        self.assertEqual(Incident.objects.filter(closed_at=None).count(), 23)

    def test_pages_with_more_rows_need_no_more_queries(self) -> None:
        self.client.force_login(User.objects.create_superuser("ann"))
        first = self.machines(3)[0].pk
        models = ("machine", "threshold", "sample", "incident", "poll")
        urls = ["/", "/machines/", f"/machines/{first}/", *(f"/admin/incidents/{model}/" for model in models)]
        self.round(0)
        few = {url: len(self.queries(self.client.get, url)) for url in urls}
        for machine in self.machines(20):
            Threshold.objects.create(machine=machine, metric="cpu", limit=50)
        for number in range(1, 10):
            self.round(number)
        self.assertEqual({url: len(self.queries(self.client.get, url)) for url in urls}, few)

    def test_one_machine_with_a_long_window_does_not_make_the_samples_of_others_be_read(self) -> None:
        machines = self.machines(4)
        Threshold.objects.create(machine=machines[0], metric="cpu", limit=50, minutes=6000)
        self.round(0)
        read = [sql for sql in self.queries(self.round, 1) if sql.startswith("SELECT") and LARGE[0] in sql]
        self.assertEqual(len(read), 2)
        self.assertEqual(Incident.objects.filter(kind="cpu", closed_at=None).count(), 3)

    def test_the_list_of_machines_counts_open_incidents(self) -> None:
        self.machines(2)
        self.round(0)
        self.assertContains(self.client.get("/machines/"), "1 open", 2)


@tag("plans")
@skipUnless(connection.vendor == "postgresql", "asks PostgreSQL for its plans")
class Plans(Many):
    """With all other ways discouraged, a sequential scan means that no index fits."""

    def setUp(self) -> None:
        self.machines(3)
        self.round(0)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")

    def assert_indexed(self, queries: list[str]) -> None:
        read = [sql for sql in queries if sql.startswith(("SELECT", "DELETE")) and any(name in sql for name in LARGE)]
        self.assertTrue(read)
        for sql in read:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            for name in LARGE:
                self.assertNotIn(f"Seq Scan on {name}", plan, sql)

    def test_no_page_and_no_round_reads_all_samples_or_polls(self) -> None:
        self.client.force_login(User.objects.create_superuser("ann"))
        first = Machine.objects.earliest("pk").pk
        for url in (f"/machines/{first}/", f"/machines/{first}/?days=30"):
            self.assert_indexed(self.queries(self.client.get, url))
        self.assert_indexed(self.queries(self.round, 1))

    def test_pruning_finds_old_rows_by_an_index(self) -> None:
        with mock.patch("incidents.management.commands.prune.BATCH", 2):
            self.assert_indexed(self.queries(self.prune))

    def test_open_incidents_come_first_without_sorting_all(self) -> None:
        (query,) = [sql for sql in self.queries(self.client.get, "/") if "ORDER BY" in sql and "_incident" in sql]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        self.assertIn("incidents_by_time", plan)
        self.assertNotIn("Sort", plan)


class Pruning(Many):
    def test_every_statement_deletes_a_bounded_number_of_rows(self) -> None:
        self.machines(5)
        for number in range(4):
            self.round(number)
        with mock.patch("incidents.management.commands.prune.BATCH", 7):
            deletes = [sql for sql in self.queries(self.prune) if sql.startswith("DELETE")]
            self.assertIn("0 samples", self.prune())
        self.assertEqual((Sample.objects.count(), Poll.objects.count(), Round.objects.count()), (0, 0, 0))
        self.assertGreaterEqual(len(deletes), 60 // 7 + 20 // 7)


class Admin(Many):
    def test_long_lists_are_not_counted_to_their_end(self) -> None:
        self.machines(5)
        self.round(0)
        self.client.force_login(User.objects.create_superuser("ann"))
        with mock.patch.object(FirstPages, "MOST", 4):
            for model in ("sample", "poll"):
                page = self.client.get(f"/admin/incidents/{model}/")
                self.assertEqual(page.context["cl"].result_count, 4)
            self.assertEqual(self.client.get("/api/incidents").json()["total"], 4)
        page = self.client.get("/admin/incidents/sample/?metric=disk")
        self.assertEqual(page.context["cl"].result_count, 5)

    def test_what_the_database_refuses_is_an_error_in_the_form(self) -> None:
        self.client.force_login(User.objects.create_superuser("ann"))
        machine = self.machines(1)[0]
        for owner in ("", machine.pk):
            form = {"machine": owner, "metric": "cpu", "limit": "5", "minutes": "0", "severity": "warning"}
            self.assertEqual(self.client.post("/admin/incidents/threshold/add/", form).status_code, 302)
            again = self.client.post("/admin/incidents/threshold/add/", form)
            self.assertContains(again, "There is a threshold for cpu of")
        self.round(0)
        known = {"machine": machine, "kind": "cpu", "severity": "warning", "summary": "x"}
        closed = Incident.objects.create(**known, opened_at=BEGIN, closed_at=BEGIN)
        form = {**known, "machine": machine.pk, "opened_at_0": "2026-03-01", "opened_at_1": "10:00:00"}
        answer = self.client.post(f"/admin/incidents/incident/{closed.pk}/change/", form)
        self.assertContains(answer, "another open incident of this kind")
