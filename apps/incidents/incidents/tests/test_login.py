"""Where LOGIN_REQUIRED is set, pages need a session, and sessions end."""

import time
from datetime import timedelta
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.test import Client, TestCase, override_settings
from django.utils import timezone

from incidents import login, throttle
from incidents.models import FailedLogIn, Incident, Machine

FAST = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@override_settings(LOGIN_REQUIRED=True, PASSWORD_HASHERS=FAST, API_TOKEN="t0ken", SESSION_COOKIE_SECURE=True)
class LogInTest(TestCase):
    def setUp(self) -> None:
        self.ann = User.objects.create_superuser("ann", password="sesame")

    def log_in(self, name: str = "ann", password: str = "sesame", then: str = "", **headers: str) -> Any:
        data = {"name": name, "password": password, "next": then}
        return self.client.post("/login/", data, headers=headers, secure=True)

    def status(self, url: str = "/") -> int:
        return int(self.client.get(url, secure=True).status_code)


class Asking(LogInTest):
    def test_pages_need_a_log_in_and_lead_back_to_where_one_was(self) -> None:
        for url in ("/?state=open", "/machines/", "/machines/1/", "/admin/", "/nowhere"):
            answer = self.client.get(url)
            self.assertEqual(answer.status_code, 302, url)
            self.assertTrue(answer["Location"].startswith("/login/?next=%2F"), url)
        answer = self.log_in(then="/machines/?page=2")
        self.assertEqual((answer.status_code, answer["Location"]), (302, "/machines/?page=2"))
        self.assertEqual(self.status(), 200)

    def test_the_cookie_is_for_this_site_alone(self) -> None:
        cookie = self.log_in().cookies[login.COOKIE]
        self.assertTrue(cookie["secure"] and cookie["httponly"])
        self.assertEqual(cookie["samesite"], "Lax")

    def test_after_the_log_in_one_stays_on_the_site(self) -> None:
        for bad in (
            "//evil.example/",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\\evil.example",
            "http:///x",
            "/login/",
        ):
            self.assertEqual(self.log_in(then=bad)["Location"], "/", bad)

    def test_the_api_keeps_its_token_and_health_checks_need_nothing(self) -> None:
        bearer = {"Authorization": "Bearer t0ken"}
        sample = {"machine": "m", "metric": "t", "value": 1}
        posted = self.client.post("/api/samples", sample, content_type="application/json", headers=bearer)
        self.assertEqual(posted.status_code, 201)
        self.assertEqual(self.client.get("/api/incidents", headers=bearer).status_code, 200)
        self.assertEqual(self.status("/api/incidents"), 401)
        self.assertEqual((self.status("/livez"), self.status("/healthz")), (200, 200))

    def test_a_form_of_another_site_cannot_log_anyone_in_or_out(self) -> None:
        self.client = Client(enforce_csrf_checks=True)
        with self.assertLogs("django.security.csrf"):
            self.assertEqual(self.log_in().status_code, 403)
            self.assertEqual(self.client.post("/logout/").status_code, 302)  # also without a log-in
        page = self.client.get("/login/", secure=True)
        data = {"name": "ann", "password": "sesame", "csrfmiddlewaretoken": page.context["csrf_token"]}
        answer = self.client.post("/login/", data, secure=True, headers={"Referer": "https://testserver/login/"})
        self.assertEqual(answer.status_code, 302)
        with self.assertLogs("django.security.csrf"):
            self.assertEqual(self.client.post("/logout/", secure=True).status_code, 403)

    def test_the_admin_has_the_same_log_in(self) -> None:
        self.log_in()
        self.assertEqual(self.status("/admin/incidents/machine/"), 200)
        User.objects.create_user("bob", password="sesame")
        self.log_in("bob")
        self.assertEqual(self.status("/"), 200)
        self.assertEqual(self.status("/admin/incidents/machine/"), 302)

    @override_settings(LOGIN_REQUIRED=False)
    def test_without_the_setting_pages_are_public(self) -> None:
        self.assertEqual(self.status(), 200)


class Ending(LogInTest):
    def later(self, **past: float) -> Any:
        return mock.patch("time.time", return_value=time.time() + timedelta(**past).total_seconds())

    def test_a_session_ends_at_log_out_and_with_a_new_password(self) -> None:
        self.log_in()
        self.client.post("/logout/", secure=True)
        self.assertEqual(self.status(), 302)
        self.log_in()
        self.ann.set_password("another")
        self.ann.save()
        self.assertEqual(self.status(), 302)

    def test_a_person_who_is_no_longer_active_is_logged_out(self) -> None:
        self.log_in()
        User.objects.update(is_active=False)
        self.assertEqual(self.status(), 302)

    def test_a_session_expires_without_pages_and_in_any_case_at_the_end_of_the_day(self) -> None:
        self.log_in()
        with self.later(minutes=61):
            self.assertEqual(self.status(), 302)
        for hour in range(1, 25):
            with self.later(minutes=hour * 30):
                self.assertEqual(self.status(), 200 if hour * 30 < 720 else 302, hour)

    def test_live_refresh_alone_does_not_keep_a_session(self) -> None:
        self.log_in()
        with self.later(minutes=50):
            self.assertEqual(self.status("/api/incidents"), 200)
        with self.later(minutes=70):
            self.assertEqual(self.status("/api/incidents"), 401)

    def test_a_changed_cookie_is_no_session(self) -> None:
        good = self.log_in().cookies[login.COOKIE].value
        for bad in ("", "x", good[:-1] + ("A" if good[-1] != "A" else "B"), good.swapcase()):
            self.client.cookies[login.COOKIE] = bad
            self.assertEqual(self.status(), 302, bad)

    def test_a_session_survives_a_new_secret_key_while_the_old_one_is_listed(self) -> None:
        with override_settings(SECRET_KEY="before"):
            self.ann.refresh_from_db()
            self.log_in()
        with override_settings(SECRET_KEY="after", SECRET_KEY_FALLBACKS=["before"]):
            self.assertEqual(self.status(), 200)
        with override_settings(SECRET_KEY="after"):
            self.assertEqual(self.status(), 302)


class Throttling(LogInTest):
    def test_after_five_wrong_passwords_the_right_one_has_to_wait(self) -> None:
        for _ in range(5):
            self.assertEqual(self.log_in(password="wrong").status_code, 403)
        answer = self.log_in()
        self.assertEqual((answer.status_code, answer["Retry-After"]), (429, "900"))
        FailedLogIn.objects.update(at=timezone.now() - throttle.WINDOW)
        self.assertEqual(self.log_in().status_code, 302)

    def test_a_name_has_one_spelling(self) -> None:
        for name in ("ANN", "\u00e1nn", "ann "):
            self.assertEqual(self.log_in(name).status_code, 403)

    def test_others_are_not_locked_out(self) -> None:
        for _ in range(6):
            self.log_in(password="wrong", **{"X-Real-IP": "192.0.2.1"})
        self.assertEqual(self.log_in(**{"X-Real-IP": "192.0.2.1"}).status_code, 429)
        self.assertEqual(self.log_in(**{"X-Real-IP": "192.0.2.2"}).status_code, 302)

    def test_one_address_cannot_try_many_names(self) -> None:
        for number in range(20):
            self.log_in(f"name{number}", **{"X-Real-IP": "192.0.2.1"})
        self.assertEqual(self.log_in(**{"X-Real-IP": "192.0.2.1"}).status_code, 429)

    def test_a_log_in_forgets_the_failures_before(self) -> None:
        for _ in range(3):
            for _ in range(4):
                self.log_in(password="wrong")
            self.assertEqual(self.log_in().status_code, 302)

    def test_rubbish_is_refused_and_not_an_error(self) -> None:
        for name, password in (
            ("", "x"),
            ("ann", ""),
            ("nul\0", "x"),
            ("a" * 151, "x"),
            ("ann", "x" * 1001),
            ("ann", "\0"),
        ):
            self.assertEqual(self.log_in(name, password).status_code, 400)


class Machines(TestCase):
    def test_the_filters_choose_rows_and_stay_in_the_links(self) -> None:
        machine = Machine.objects.create(name="press-1")
        now = timezone.now()
        common = {"machine": machine, "severity": "warning", "opened_at": now}
        Incident.objects.create(kind="cpu", summary="hot", **common)
        Incident.objects.bulk_create(Incident(kind="t", summary="old", closed_at=now, **common) for _ in range(30))
        for query, count in (
            ("state=open", 1),
            ("kind=t", 30),
            ("machine=PRESS", 31),
            ("machine=%25", 0),
            ("machine=_", 0),
            ("machine=oven", 0),
            ("state=x", 31),
        ):
            self.assertEqual(self.client.get(f"/api/incidents?{query}").json()["total"], count, query)
        self.assertContains(self.client.get("/?kind=t"), 'href="?kind=t&amp;page=2"')
        self.assertContains(self.client.get("/?machine=oven"), "No incident matches.")
        self.assertEqual(self.client.get("/?kind=%00").status_code, 200)
