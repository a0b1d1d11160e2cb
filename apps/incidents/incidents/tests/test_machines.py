"""A machine's page shows its history, and a laptop needs no stack."""

import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from incidents.charts import chart
from incidents.kinds import Point
from incidents.models import Machine, Outcome, Poll, Round, Sample
from incidents_site import environment_file


@override_settings(POLL_INTERVAL=900)
class Pages(TestCase):
    def setUp(self) -> None:
        self.machine = Machine.objects.create(name="<press>", address="http://press.example/")
        self.now = timezone.now()
        Sample.objects.bulk_create(
            Sample(
                machine=self.machine, metric="cpu", value=step % 90, taken_at=self.now - timedelta(minutes=15 * step)
            )
            for step in range(600)
        )

    def test_a_machine_shows_its_history_its_polls_and_its_incidents(self) -> None:
        current = Round.objects.create(at=self.now)
        known = {"round": current, "machine": self.machine, "taken_at": self.now, "milliseconds": 7}
        Poll.objects.create(outcome=Outcome.PARTIAL, detail="mem is missing", uptime=1e12, **known)
        page = self.client.get(f"/machines/{self.machine.pk}/")
        self.assertContains(page, "&lt;press&gt;")
        self.assertContains(page, "mem is missing")
        self.assertContains(page, '<line class="limit"', 1)
        (line,) = re.findall(r'<polyline points="([^"]+)"', page.content.decode())
        self.assertEqual(len(line.split()), 96)

    def test_longer_times_have_more_points(self) -> None:
        page = self.client.get(f"/machines/{self.machine.pk}/?days=7").content.decode()
        (line,) = re.findall(r'<polyline points="([^"]+)"', page)
        self.assertGreater(len(line.split()), 400)
        self.assertEqual(self.client.get(f"/machines/{self.machine.pk}/?days=x").status_code, 200)

    def test_the_list_of_machines(self) -> None:
        self.assertContains(self.client.get("/machines/"), f'href="/machines/{self.machine.pk}/"')
        self.assertNotContains(self.client.get("/machines/?machine=oven"), "press")
        self.assertEqual(self.client.get("/machines/4711/").status_code, 404)


@override_settings(POLL_INTERVAL=900)
class Charts(SimpleTestCase):
    def drawn(self, *points: tuple[float, float], limit: float | None = None, unit: str = "%") -> tuple[str, ...]:
        begin = timezone.now()
        found = [Point(begin + timedelta(minutes=minutes), value) for minutes, value in points]
        made = chart("CPU", unit, found, limit, begin, begin + timedelta(hours=10))
        return (*made.lines, *map(str, made.dots)) if made else ()

    def test_the_line_is_interrupted_where_samples_are_missing(self) -> None:
        self.assertEqual(len(self.drawn((0, 1), (15, 1), (60, 1), (75, 1))), 2)
        self.assertEqual(self.drawn((0, 105)), ("(0.0, 5.7)",))
        self.assertEqual(self.drawn(), ())

    def test_all_kinds_of_values_are_inside_the_picture(self) -> None:
        for points in ([(0, 0), (1, 0)], [(0, -5), (1, -5)], [(0, 1e300), (1, 0)], [(0, 1e-300), (1, 0)]):
            for line in self.drawn(*points, unit=""):
                for point in line.split():
                    self.assertTrue(0 <= float(point.split(",")[1]) <= 120, line)


class EnvironmentFile(SimpleTestCase):
    def test_it_sets_what_is_not_set(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".env") as file, mock.patch.dict(os.environ, {"B": "kept"}):
            file.write("# a comment\n\nA = 'one two'\nB=2\n")
            file.flush()
            environment_file.load(Path(file.name))
            self.assertEqual((os.environ["A"], os.environ["B"]), ("one two", "kept"))
            file.write("what\n")
            file.flush()
            with self.assertRaisesMessage(SystemExit, ":5: must be NAME=value"):
                environment_file.load(Path(file.name))

    def test_none_is_needed(self) -> None:
        environment_file.load(Path("/nonexistent/.env"))
