"""The pages that a visitor sees."""

import re
import tempfile
from datetime import timedelta
from io import StringIO

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from incidents.models import Incident, Machine


class Pages(TestCase):
    def incidents(self, closed: int) -> None:
        machine = Machine.objects.create(name="<press>", location="Hall 2")
        now = timezone.now()
        opened = now - timedelta(days=30)
        Incident.objects.bulk_create(
            Incident(machine=machine, kind="t", severity="warning", summary="old", opened_at=opened, closed_at=now)
            for _ in range(closed)
        )
        Incident.objects.create(machine=machine, kind="t", severity="critical", summary="hot", opened_at=opened)

    def test_an_empty_list_says_that_it_is_empty(self) -> None:
        page = self.client.get("/")
        self.assertContains(page, "No incident has been recorded yet")
        self.assertContains(page, "All machines are fine")

    def test_open_incidents_come_first(self) -> None:
        self.incidents(closed=3)
        page = self.client.get("/")
        self.assertContains(page, "1 open")
        states = re.findall(r'class="badge \w+">(\w+)<', page.content.decode())
        self.assertEqual(states, ["critical", "closed", "closed", "closed"])
        self.assertContains(page, "&lt;press&gt;")

    def test_pages_have_25_rows_and_a_page_beyond_the_last_is_not_an_error(self) -> None:
        self.incidents(closed=29)
        self.assertContains(self.client.get("/"), 'rel="next" href="?page=2"')
        for number in ("2", "99"):
            page = self.client.get("/", {"page": number})
            self.assertContains(page, "Page 2 of 2")
            self.assertContains(page, '<th scope="row">', 5)
        self.assertContains(self.client.get("/?page=rubbish"), "Page 1 of 2")

    def test_a_page_costs_the_same_number_of_queries_whatever_its_length(self) -> None:
        self.incidents(closed=20)
        with self.assertNumQueries(3):
            self.client.get("/")

    @override_settings(RELEASE="r42")
    def test_the_release_is_shown_on_the_page_and_in_every_response(self) -> None:
        self.assertContains(self.client.get("/"), "<code>r42</code>")
        for url in ("/", "/api/incidents", "/nowhere", "/admin/", "/livez"):
            self.assertEqual(self.client.get(url)["X-Release"], "r42", url)

    def test_the_list_is_also_served_as_json(self) -> None:
        self.incidents(closed=29)
        answer = self.client.get("/api/incidents?page=2").json()
        self.assertEqual((answer["page"], answer["pages"], answer["total"]), (2, 2, 30))
        self.assertEqual(len(answer["incidents"]), 5)
        first = self.client.get("/api/incidents").json()["incidents"][0]
        self.assertEqual((first["machine"], first["severity"], first["closed_at"]), ("<press>", "critical", None))

    def test_the_admin_shows_every_model(self) -> None:
        self.incidents(closed=1)
        self.client.force_login(User.objects.create_superuser("admin"))
        for model in ("machine", "threshold", "sample", "incident"):
            self.assertEqual(self.client.get(f"/admin/incidents/{model}/").status_code, 200)
            self.assertEqual(self.client.get(f"/admin/incidents/{model}/add/").status_code, 200)

    def test_collected_static_files_have_hashed_names_and_are_cached_for_ever(self) -> None:
        storages = {**settings.STORAGES, "staticfiles": {"BACKEND": settings.HASHED_STATIC}}
        with tempfile.TemporaryDirectory() as root, override_settings(STORAGES=storages, STATIC_ROOT=root):
            call_command("collectstatic", interactive=False, stdout=StringIO())
            page = self.client.get("/").content.decode()
            (url,) = re.findall(r"/static/incidents/style\.[0-9a-f]{12}\.css", page)
            sheet = self.client.get(url)
            self.assertIn(b"--page:", sheet.getvalue())
            self.assertIn("immutable", sheet["Cache-Control"])
            self.assertIn("X-Release", sheet)
