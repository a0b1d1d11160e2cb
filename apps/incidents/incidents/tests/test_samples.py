"""The API stores each sample once, and samples open and close incidents."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock, skipUnless

from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client, TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from incidents.models import Incident, Machine, Sample, Threshold


@override_settings(API_TOKEN="t0ken")
class ApiTest(TestCase):
    def post(self, data: Any = None, authorization: str = "Bearer t0ken", **fields: Any) -> Any:
        data = data or {"machine": "press-1", "metric": "temperature", "value": 20, **fields}
        headers = {"Authorization": authorization}
        return self.client.post("/api/samples", data, content_type="application/json", headers=headers)


class Accepting(ApiTest):
    def test_a_sample_is_stored_and_can_be_read_back(self) -> None:
        answer = self.post(value=21.5, taken_at="2026-01-31T12:00:00+02:00", key="k1")
        self.assertEqual(answer.status_code, 201)
        url = f"/api/samples/{answer.json()['id']}"
        sample = self.client.get(url, headers={"Authorization": "Bearer t0ken"}).json()
        self.assertEqual((sample["machine"], sample["metric"], sample["value"]), ("press-1", "temperature", 21.5))
        self.assertEqual((sample["taken_at"], sample["key"]), ("2026-01-31T10:00:00Z", "k1"))

    def test_the_time_defaults_to_now(self) -> None:
        self.post()
        self.assertLess(timezone.now() - Sample.objects.get().taken_at, timedelta(seconds=10))

    def test_two_posts_with_the_same_key_store_one_sample(self) -> None:
        first, second = self.post(key="k1"), self.post(key="k1")
        self.assertEqual((first.status_code, second.status_code), (201, 200))
        self.assertEqual(first.json(), second.json())
        self.assertEqual(Sample.objects.count(), 1)

    def test_without_keys_every_sample_is_stored(self) -> None:
        self.assertNotEqual(self.post().json(), self.post().json())

    def test_keys_machines_and_metrics_that_differ_in_one_letter_are_different(self) -> None:
        for key, machine, metric in (("k", "m\u00fcller", "t"), ("K", "muller", "T"), ("\u01e9", "Muller", "\u0165")):
            self.assertEqual(self.post(key=key, machine=machine, metric=metric).status_code, 201)
        self.assertEqual(Machine.objects.count(), 3)
        self.assertEqual(Sample.objects.filter(metric="t").count(), 1)

    def test_an_unknown_sample_is_not_found(self) -> None:
        for pk in (404, 10**30):
            answer = self.client.get(f"/api/samples/{pk}", headers={"Authorization": "Bearer t0ken"})
            self.assertEqual(answer.status_code, 404)


class Refusing(ApiTest):
    @override_settings(API_TOKEN="n3w", API_TOKEN_PREVIOUS=["t0ken"])
    def test_the_previous_token_is_accepted_while_it_is_configured(self) -> None:
        self.assertEqual(self.post().status_code, 201)
        self.assertEqual(self.post(authorization="Bearer n3w").status_code, 201)
        with override_settings(API_TOKEN_PREVIOUS=[]):
            self.assertEqual(self.post().status_code, 401)
            self.assertEqual(self.post(authorization="Bearer ").status_code, 401)

    def test_without_the_token_nothing_is_stored_or_shown(self) -> None:
        for wrong in ("", "t0ken", "Bearer ", "Bearer wrong", "Bearer t0ken2", "Bearer \xfc"):
            answer = self.post(authorization=wrong)
            self.assertEqual((answer.status_code, answer["WWW-Authenticate"]), (401, "Bearer"), wrong)
        self.assertEqual(self.client.get("/api/samples/1").status_code, 401)
        self.assertFalse(Sample.objects.exists())

    def test_the_error_names_a_bad_field(self) -> None:
        bad: dict[str, list[Any]] = {
            "value": [None, "20", True, [], float("nan"), float("inf"), 10**400],
            "machine": [None, "", 7, "x" * 101, " padded", "nul\0", "\ud800"],
            "metric": [None],
            "taken_at": [
                *("yesterday", 5, "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z"),
                *("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"),
                (timezone.now() + timedelta(hours=1)).isoformat(),
            ],
            "key": ["", 1],
            "colour": ["red"],
        }
        for field, value in [(field, value) for field, values in bad.items() for value in values]:
            with self.subTest(field=field, value=value):
                answer = self.post(**{field: value})
                self.assertEqual((answer.status_code, answer.json()["field"]), (400, field))
                self.assertTrue(answer.json()["error"].startswith(f"{field}: "))
        self.assertFalse(Sample.objects.exists())

    def test_a_body_that_is_not_a_json_object_is_refused(self) -> None:
        for body in ("", "{", "[1]", "7", b"\xff", "[" * 100_000):
            answer = self.post(data=body or " ")
            self.assertEqual((answer.status_code, answer.json()["field"]), (400, "body"))

    def test_other_methods_are_refused(self) -> None:
        self.assertEqual(self.client.get("/api/samples").status_code, 405)
        self.assertEqual(self.client.post("/api/incidents").status_code, 405)

    def test_a_missing_database_gives_status_503_and_a_reason(self) -> None:
        with (
            mock.patch("incidents.intake.store", side_effect=OperationalError("db1 is gone")),
            self.assertLogs("incidents_site.edge"),
        ):
            answer = self.post()
        self.assertEqual((answer.status_code, answer["Retry-After"]), (503, "1"))
        self.assertNotContains(answer, "db1", status_code=503)


class Judging(ApiTest):
    """The migrations create a threshold of 80 for the temperature of every machine."""

    def at(self, minutes: int, value: float, **fields: Any) -> None:
        taken_at = timezone.now() - timedelta(hours=1) + timedelta(minutes=minutes)
        self.assertEqual(self.post(value=value, taken_at=taken_at.isoformat(), **fields).status_code, 201)

    def test_a_value_over_the_threshold_opens_one_incident_and_a_value_under_it_closes_it(self) -> None:
        self.at(0, 80)
        self.assertFalse(Incident.objects.exists())
        self.at(1, 80.1)
        self.at(2, 95)
        incident = Incident.objects.get()
        self.assertEqual((incident.kind, incident.severity, incident.closed_at), ("temperature", "critical", None))
        self.assertEqual(incident.summary, "temperature is 80.1, over 80")
        self.at(3, 80)
        incident.refresh_from_db()
        self.assertEqual(incident.closed_at, Sample.objects.latest("taken_at").taken_at)
        self.at(4, 99)
        self.assertEqual(Incident.objects.filter(closed_at=None).count(), 1)
        self.assertEqual(Incident.objects.count(), 2)

    def test_a_late_sample_neither_opens_nor_closes_an_incident(self) -> None:
        self.at(5, 99)
        self.at(1, 20)
        self.assertEqual(Incident.objects.filter(closed_at=None).count(), 1)

    def test_a_retry_neither_opens_nor_closes_an_incident(self) -> None:
        self.at(0, 99, key="over")
        self.at(1, 20)
        self.post(value=99, key="over")
        self.assertEqual(Incident.objects.filter(closed_at=None).count(), 0)

    def test_a_machines_own_threshold_overrides_the_default(self) -> None:
        oven = Machine.objects.create(name="oven")
        Threshold.objects.create(machine=oven, metric="temperature", limit=250, severity="warning")
        self.at(0, 200, machine="oven")
        self.at(0, 200, machine="press-1")
        self.assertEqual([str(incident.machine) for incident in Incident.objects.all()], ["press-1"])

    def test_an_incident_without_a_threshold_closes_at_the_next_sample(self) -> None:
        self.at(0, 99)
        Threshold.objects.all().delete()
        self.at(1, 99)
        self.assertIsNotNone(Incident.objects.get().closed_at)

    def test_a_window_counts_for_posted_samples_too(self) -> None:
        Threshold.objects.filter(metric="temperature").update(minutes=30)
        for minutes, open_now in ((0, 0), (15, 0), (30, 1), (45, 1), (59, 0)):
            self.at(minutes, 99 if minutes < 59 else 80)
            self.assertEqual(Incident.objects.filter(closed_at=None).count(), open_now, minutes)

    def test_machines_and_metrics_are_independent(self) -> None:
        self.at(0, 99)
        self.at(1, 20, machine="press-2")
        self.at(1, 20, metric="disk_used_percent")
        self.at(1, 9999, metric="a metric without a threshold")
        self.assertEqual([incident.kind for incident in Incident.objects.filter(closed_at=None)], ["temperature"])

    def test_the_database_itself_allows_one_open_incident_of_each_kind(self) -> None:
        self.at(0, 99)
        twin = Incident.objects.get()
        twin.pk = None
        with self.assertRaises(IntegrityError), transaction.atomic():
            twin.save()


@skipUnless(connection.vendor != "sqlite", "SQLite has no row locks")
@override_settings(API_TOKEN="t0ken")
class AtTheSameTime(TransactionTestCase):
    def setUp(self) -> None:
        # On a busy machine, a lock may be held for longer than a site would wait for it; deadlocks show at once.
        patient = {
            "mysql": {"init_command": "SET innodb_lock_wait_timeout = 120", "read_timeout": 120},
            "postgresql": {"options": "-c lock_timeout=120s"},
        }
        self.enterContext(mock.patch.dict(connection.settings_dict["OPTIONS"], patient[connection.vendor]))

    def statuses(self, bodies: list[dict[str, Any]]) -> list[int]:
        start = threading.Barrier(len(bodies))

        def post(body: dict[str, Any]) -> int:
            start.wait()
            headers = {"Authorization": "Bearer t0ken"}
            answer = Client().post("/api/samples", body, content_type="application/json", headers=headers)
            connection.close()
            return int(answer.status_code)

        with ThreadPoolExecutor(len(bodies)) as pool:
            return sorted(pool.map(post, bodies))

    def test_samples_of_one_machine_do_not_lock_each_other_out(self) -> None:
        Threshold.objects.create(metric="load", limit=80)
        for _ in range(3):  # at first, they also register the machine
            bodies = [{"machine": "press-1", "metric": "load", "value": 99} for _ in range(6)]
            self.assertEqual(self.statuses(bodies), [201] * 6)
        self.assertEqual((Sample.objects.count(), Incident.objects.count()), (18, 1))
        retries = [{"machine": "press-2", "metric": "load", "value": 99, "key": "k1"}] * 6
        self.assertEqual(self.statuses(retries), [200] * 5 + [201])
