"""Rounds store each machine's answer once, and incidents follow the rules."""

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from ipaddress import ip_network
from unittest import mock, skipUnless

from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from incidents import rounds
from incidents.answers import Answer
from incidents.fake import Fleet
from incidents.fetch import Result
from incidents.management.commands.fake_machines import register
from incidents.models import Incident, Machine, Outcome, Poll, Round, Sample, Threshold

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINE = {"cpu": 10.0, "memory": 10.0, "disk": 10.0}


class Fleetless(TestCase):
    def setUp(self) -> None:
        self.enterContext(self.settings(POLL_INTERVAL=900, LIMITS={}))
        self.machine = Machine.objects.create(name="press-1", address="http://press-1.example/")

    def poll(self, minutes: float, outcome: str = Outcome.OK, machine: Machine | None = None, **values: float) -> None:
        at = BEGIN + timedelta(minutes=minutes)
        current, _ = Round.objects.get_or_create(at=at)
        answer = Answer({**FINE, **values} if outcome == Outcome.OK else {})
        rounds.store(current, {(machine or self.machine).pk: Result(outcome, "", answer, at, 5)})

    def open(self) -> list[str]:
        return sorted(Incident.objects.filter(closed_at=None).values_list("kind", flat=True))


class Rules(Fleetless):
    def test_cpu_over_85_opens_at_the_first_sample_and_closes_at_the_first_that_is_not(self) -> None:
        self.poll(0, cpu=85)
        self.assertEqual(self.open(), [])
        self.poll(15, cpu=85.5)
        self.poll(30, cpu=99)
        self.assertEqual(self.open(), ["cpu"])
        self.assertEqual(Incident.objects.get().summary, "CPU is 85.5%, over 85%")
        self.poll(45)
        self.assertEqual(Incident.objects.get().closed_at, BEGIN + timedelta(minutes=45))

    def test_memory_must_be_over_90_for_30_minutes(self) -> None:
        for minutes, expected in ((0, []), (15, []), (30, ["memory"])):
            self.poll(minutes, memory=91)
            self.assertEqual(self.open(), expected, minutes)

    def test_disk_must_be_over_95_for_two_hours(self) -> None:
        for step in range(9):
            self.assertEqual(self.open(), [], step)
            self.poll(step * 15, disk=96)
        self.assertEqual(self.open(), ["disk"])

    def test_one_sample_within_the_window_that_is_not_over_starts_it_again(self) -> None:
        for minutes, value in ((0, 91), (15, 90), (30, 91), (45, 91)):
            self.poll(minutes, memory=value)
            self.assertEqual(self.open(), [])
        self.poll(60, memory=91)
        self.assertEqual(self.open(), ["memory"])

    def test_a_window_with_a_missing_sample_is_not_covered(self) -> None:
        self.poll(0, memory=91)
        self.poll(15, Outcome.TIMEOUT)
        self.poll(30, memory=91)
        self.assertEqual(self.open(), [])
        self.poll(45, memory=91)
        self.assertEqual(self.open(), [])
        self.poll(60, memory=91)
        self.assertEqual(self.open(), ["memory"])

    def test_samples_that_come_some_seconds_early_cover_the_window(self) -> None:
        for minutes in (0.2, 15.1, 30.0):
            self.poll(minutes, memory=91)
        self.assertEqual(self.open(), ["memory"])

    def test_a_machine_that_does_not_answer_opens_an_incident_until_it_answers(self) -> None:
        for outcome in (Outcome.TIMEOUT, Outcome.REFUSED, Outcome.UNRESOLVED):
            self.poll(0, outcome)
            self.assertEqual(self.open(), ["silent"])
            self.poll(15, Outcome.OK)
            self.assertEqual(self.open(), [])
            Round.objects.all().delete()

    def test_a_useless_answer_is_another_kind(self) -> None:
        self.poll(0, Outcome.TIMEOUT)
        self.poll(15, Outcome.BAD_JSON)
        self.assertEqual(self.open(), ["unusable"])
        self.poll(30, Outcome.TIMEOUT)
        self.assertEqual(self.open(), ["silent", "unusable"])
        self.poll(45)
        self.assertEqual(self.open(), [])

    def test_an_address_that_may_not_be_polled_says_nothing_about_the_machine(self) -> None:
        self.poll(0, Outcome.TIMEOUT)
        self.poll(15, Outcome.FORBIDDEN)
        self.assertEqual(self.open(), ["silent", "unusable"])

    def test_without_samples_an_incident_stays_open(self) -> None:
        self.poll(0, cpu=99)
        self.poll(15, Outcome.TIMEOUT)
        self.assertEqual(self.open(), ["cpu", "silent"])

    def test_limits_come_from_the_machine_or_from_the_admin_or_from_the_environment(self) -> None:
        with override_settings(LIMITS={"LIMIT_CPU": 50.0, "LIMIT_MEMORY_MINUTES": 0.0}):
            self.poll(0, cpu=51, memory=91)
            self.assertEqual(self.open(), ["cpu", "memory"])
        Threshold.objects.create(metric="cpu", limit=60, severity="critical")
        self.poll(15, cpu=55)
        self.assertEqual(self.open(), [])
        Threshold.objects.create(metric="cpu", machine=self.machine, limit=20, minutes=15)
        self.poll(30, cpu=21)
        self.assertEqual(self.open(), ["cpu"])
        other = Machine.objects.create(name="press-2", address="http://press-2.example/")
        self.poll(30, machine=other, cpu=59)
        self.assertEqual(Incident.objects.filter(machine=other).count(), 0)

    def test_the_database_allows_one_threshold_of_a_metric_for_all_machines(self) -> None:
        Threshold.objects.create(metric="cpu", limit=60)
        with self.assertRaises(IntegrityError), transaction.atomic():
            Threshold.objects.create(metric="cpu", limit=70)

    def test_a_window_of_any_length_stops_no_round(self) -> None:
        for minutes in (1e12, 1e300, -5):
            Threshold.objects.update_or_create(
                machine=self.machine, metric="cpu", defaults={"limit": 1, "minutes": minutes}
            )
            self.poll(abs(minutes) % 7)
        self.assertEqual(self.open(), ["cpu"])
        with self.assertRaises(ValidationError):
            Threshold(metric="disk", limit=1, minutes=1e6).full_clean()

    def test_an_address_is_checked_in_the_admin(self) -> None:
        with self.assertRaises(ValidationError):
            Machine(name="x", address="ftp://x/").full_clean()


class Rounds(Fleetless):
    def test_a_result_that_comes_twice_is_stored_once(self) -> None:
        self.poll(0, cpu=99)
        self.poll(0, cpu=10)
        self.assertEqual((Poll.objects.count(), Sample.objects.count(), self.open()), (1, 3, ["cpu"]))

    def test_beat_may_start_a_round_as_often_as_it_likes(self) -> None:
        first, chunks = rounds.begin(BEGIN + timedelta(seconds=30))
        self.assertEqual((first.at, chunks), (BEGIN, [[self.machine.pk]]))
        again, chunks = rounds.begin(BEGIN + timedelta(seconds=60))
        self.assertEqual((again, chunks), (first, []))

    def test_tasks_that_a_broker_has_lost_are_sent_again(self) -> None:
        Machine.objects.bulk_create(Machine(name=f"m{n}", address="http://m.example/") for n in range(150))
        self.enterContext(mock.patch.object(rounds, "CHUNK", 100))
        _, chunks = rounds.begin(BEGIN)
        self.assertEqual([len(chunk) for chunk in chunks], [100, 51])
        self.poll(0)  # one of them was done
        _, chunks = rounds.begin(BEGIN + timedelta(seconds=121))
        self.assertEqual(sum(map(len, chunks)), 150)
        self.assertNotIn(self.machine.pk, chunks[0])

    def test_a_round_is_finished_when_every_machine_was_polled(self) -> None:
        rounds.begin(BEGIN)
        self.poll(0)
        self.assertIsNotNone(Round.objects.get().finished_at)

    def test_machines_without_an_address_or_switched_off_are_not_polled(self) -> None:
        Machine.objects.create(name="posts")
        Machine.objects.create(name="off", address="http://off.example/", active=False)
        self.assertEqual(rounds.begin(BEGIN)[1], [[self.machine.pk]])

    def test_a_machine_that_is_no_longer_polled_is_no_longer_silent(self) -> None:
        others = [Machine.objects.create(name=name, address="http://m.example/") for name in ("off", "posts", "polled")]
        for machine in others:
            self.poll(0, Outcome.TIMEOUT, machine)
        Machine.objects.filter(name="off").update(active=False)
        Machine.objects.filter(name="posts").update(address="")
        rounds.begin(BEGIN + timedelta(minutes=15))
        still = Incident.objects.filter(closed_at=None)
        self.assertEqual([incident.machine.name for incident in still], ["polled"])

    def test_a_machine_that_is_deleted_meanwhile_does_not_stop_the_round(self) -> None:
        current, _ = rounds.begin(BEGIN)
        gone = self.machine.pk
        self.machine.delete()
        self.assertEqual(rounds.store(current, {gone: Result(Outcome.OK)}), {})

    def test_old_samples_and_polls_are_pruned_and_incidents_stay(self) -> None:
        self.poll(0, cpu=99)
        with mock.patch("django.utils.timezone.now", return_value=BEGIN + timedelta(days=30)):
            self.poll(60, cpu=99)
            with mock.patch("incidents.management.commands.prune.BATCH", 2):
                call_command("prune", days=29.98, stdout=StringIO())
        self.assertEqual((Sample.objects.count(), Poll.objects.count(), Round.objects.count()), (3, 1, 1))
        self.assertEqual(self.open(), ["cpu"])


@override_settings(POLL_ALLOW=[ip_network("127.0.0.0/8")], POLL_TIMEOUT=1, POLL_CONCURRENCY=100, POLL_INTERVAL=900)
class Whole(TestCase):
    def test_a_round_over_a_fleet_that_misbehaves(self) -> None:
        with Fleet(("127.0.0.1", 0), 32) as fleet:
            threading.Thread(target=fleet.serve_forever, args=(0.05,), daemon=True).start()
            register(fleet)
            out = StringIO()
            with mock.patch.object(fleet, "period", 10**9):
                call_command("poll", stdout=out)
            fleet.shutdown()
        found = set(Poll.objects.values_list("outcome", flat=True))
        self.assertLessEqual(
            {"ok", "partial", "bad_json", "status", "redirect", "too_large", "broken", "timeout"}, found
        )
        self.assertEqual(Poll.objects.count(), 32)
        kinds = set(Incident.objects.filter(closed_at=None).values_list("kind", flat=True))
        self.assertEqual(kinds, {"cpu", "silent", "unusable"})
        call_command("poll", stdout=out)
        self.assertIn("nothing is due", out.getvalue())


@skipUnless(connection.vendor != "sqlite", "SQLite has no row locks")
class TwoWorkers(TransactionTestCase):
    def test_two_workers_with_the_same_machines_store_and_open_everything_once(self) -> None:
        pks = [Machine.objects.create(name=f"m{n}", address="http://m.example/").pk for n in range(20)]
        current = Round.objects.create(at=BEGIN)
        results = {pk: Result(Outcome.OK, "", Answer({"cpu": 99.0}), BEGIN) for pk in pks}
        start = threading.Barrier(4)

        def work() -> None:
            start.wait()
            rounds.store(current, results)
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((Poll.objects.count(), Sample.objects.count()), (20, 20))
        self.assertEqual(Incident.objects.filter(closed_at=None).count(), 20)
