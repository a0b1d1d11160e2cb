"""What operators of the site rely on: health checks, settings, log lines."""

import logging
import os
import runpy
import sys
from importlib.util import find_spec
from io import StringIO
from typing import Any
from unittest import mock, skipUnless

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError
from django.test import SimpleTestCase, TestCase, override_settings

from incidents_site.edge import OneLine

PRODUCTION = {
    "DJANGO_SECRET_KEY": "k" * 50,
    "DJANGO_ALLOWED_HOSTS": "shop.example, www.shop.example",
    "API_TOKEN": "t0ken",
    "RELEASE": "r42",
    "STATIC_ROOT": "/srv/static",
    "DB_HOSTS": "192.0.2.1, 192.0.2.2",
    "DB_NAME": "shop",
    "DB_USER": "shop",
    "DB_PASSWORD": "pass",
}


def load(environment: dict[str, str], argv: tuple[str, ...] = ("gunicorn",)) -> dict[str, Any]:
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.object(sys, "argv", list(argv)):
        return runpy.run_path(str(settings.BASE_DIR / "incidents_site" / "settings.py"))


class Settings(SimpleTestCase):
    def test_the_error_names_a_missing_environment_variable(self) -> None:
        for name in PRODUCTION:
            with self.subTest(name), self.assertRaisesMessage(ImproperlyConfigured, f"{name} is not set"):
                load({key: value for key, value in PRODUCTION.items() if key != name})

    def test_the_primary_is_found_among_all_hosts(self) -> None:
        database = load(PRODUCTION)["DATABASES"]["default"]
        self.assertEqual((database["HOST"], database["PORT"]), ("192.0.2.1,192.0.2.2", "5432,5432"))
        self.assertEqual(database["OPTIONS"]["target_session_attrs"], "read-write")
        self.assertEqual(database["OPTIONS"]["tcp_user_timeout"], 3000)
        self.assertTrue(database["CONN_HEALTH_CHECKS"])
        self.assertNotIn("sslmode", database["OPTIONS"])

    def test_a_vanished_host_does_not_hold_its_locks(self) -> None:
        serving = load(PRODUCTION)["DATABASES"]["default"]["OPTIONS"]
        self.assertIn("idle_in_transaction_session_timeout=3s", serving["options"])
        self.assertIn("lock_timeout=3s", serving["options"])
        testing = load(PRODUCTION, ("manage.py", "test"))["DATABASES"]["default"]["OPTIONS"]
        self.assertIn("idle_in_transaction_session_timeout=60s", testing["options"])
        migrating = load(PRODUCTION, ("manage.py", "migrate"))["DATABASES"]["default"]["OPTIONS"]
        self.assertNotIn("options", migrating)

    @skipUnless(find_spec("pymysql"), "needs PyMySQL")
    def test_mysql_is_one_host_whose_locks_and_answers_are_not_awaited_for_long(self) -> None:
        one = {**PRODUCTION, "DATABASE_ENGINE": "mysql", "DB_HOSTS": "192.0.2.1"}
        database = load(one)["DATABASES"]["default"]
        self.assertEqual((database["HOST"], database["PORT"]), ("192.0.2.1", "3306"))
        self.assertEqual(database["OPTIONS"]["read_timeout"], 30)
        self.assertIn("innodb_lock_wait_timeout = 3", database["OPTIONS"]["init_command"])
        migrating = load(one, ("manage.py", "migrate"))["DATABASES"]["default"]["OPTIONS"]
        self.assertNotIn("read_timeout", migrating)
        with self.assertRaisesMessage(ImproperlyConfigured, "DB_HOSTS must be one host"):
            load({**one, "DB_HOSTS": "192.0.2.1,192.0.2.2"})

    def test_tls_and_a_password_file(self) -> None:
        environment = {
            **PRODUCTION,
            "DB_PASSWORD": "",
            "DB_PASSFILE": "/etc/pass",
            "DB_SSLROOTCERT": "/etc/ca.crt",
        }
        database = load(environment)["DATABASES"]["default"]
        self.assertEqual(database["PASSWORD"], "")
        self.assertEqual(database["OPTIONS"]["passfile"], "/etc/pass")
        self.assertEqual(database["OPTIONS"]["sslmode"], "verify-full")
        self.assertEqual(database["OPTIONS"]["sslrootcert"], "/etc/ca.crt")

    def test_replaced_secrets_are_accepted_while_they_are_listed(self) -> None:
        self.assertEqual(load(PRODUCTION)["SECRET_KEY_FALLBACKS"], [])
        self.assertEqual(load(PRODUCTION)["API_TOKEN_PREVIOUS"], [])
        replaced = load({**PRODUCTION, "DJANGO_SECRET_KEY_FALLBACKS": "old,older", "API_TOKEN_PREVIOUS": "before,next"})
        self.assertEqual(replaced["SECRET_KEY_FALLBACKS"], ["old", "older"])
        self.assertEqual(replaced["API_TOKEN_PREVIOUS"], ["before", "next"])

    def test_production_settings_are_strict_and_development_settings_are_not(self) -> None:
        strict, loose = load(PRODUCTION), load({"DJANGO_DEBUG": "1"})
        self.assertEqual(strict["ALLOWED_HOSTS"], ["shop.example", "www.shop.example"])
        self.assertTrue(strict["SESSION_COOKIE_SECURE"] and strict["CSRF_COOKIE_SECURE"] and not strict["DEBUG"])
        self.assertIn("sqlite3", loose["DATABASES"]["default"]["ENGINE"])
        self.assertIn("sqlite3", load({}, ("manage.py", "test"))["DATABASES"]["default"]["ENGINE"])

    def test_a_limit_that_nothing_reads_is_an_error(self) -> None:
        for name, count in (("LIMIT_MEM", 1), ("LIMIT_SILENT", 1), ("LIMIT_MEMORY", 0), ("LIMIT_SILENT_MINUTES", 0)):
            with self.settings(LIMITS={name: 1.0}):
                self.assertEqual(sum(error.id == "incidents.E001" for error in run_checks()), count, name)


class Sessions(TestCase):
    def test_users_stay_logged_in_when_the_secret_key_is_replaced(self) -> None:
        person = get_user_model().objects.create_superuser("ann")
        with override_settings(SECRET_KEY="before"):
            self.client.force_login(person)
        with override_settings(SECRET_KEY="after", SECRET_KEY_FALLBACKS=["before"]):
            self.assertEqual(self.client.get("/admin/").status_code, 200)
        # A host that has not switched keys yet must accept sessions signed with the new key.
        with override_settings(SECRET_KEY="before", SECRET_KEY_FALLBACKS=["after"]):
            self.assertEqual(self.client.get("/admin/").status_code, 200)
        with override_settings(SECRET_KEY="unrelated"):
            self.assertEqual(self.client.get("/admin/").status_code, 302)


class Health(TestCase):
    def test_both_health_pages_answer_any_host_header(self) -> None:
        for url in ("/livez", "/healthz"):
            for host in ("192.0.2.7:8000", "anything"):
                answer = self.client.get(url, headers={"Host": host})
                self.assertEqual((answer.status_code, answer["Cache-Control"]), (200, "no-store"))
        with self.assertLogs("django.security.DisallowedHost"):
            self.assertEqual(self.client.get("/", headers={"Host": "192.0.2.7"}).status_code, 400)

    def test_livez_does_not_use_the_database(self) -> None:
        with self.assertNumQueries(0):
            self.assertEqual(self.client.get("/livez").content, b"ok")

    @override_settings(RELEASE="r42")
    def test_healthz_queries_the_database(self) -> None:
        with self.assertNumQueries(1):
            self.assertEqual(self.client.get("/healthz").json(), {"database": "ok", "release": "r42"})

    def test_healthz_says_why_it_is_unhealthy(self) -> None:
        with (
            mock.patch("incidents_site.edge.connection") as connection,
            self.assertLogs("incidents_site.edge") as log,
        ):
            connection.cursor.side_effect = OperationalError("no route to db1")
            answer = self.client.get("/healthz")
        self.assertEqual((answer.status_code, answer.json()["reason"]), (503, "no answer (OperationalError)"))
        self.assertIn("no route to db1", log.output[0])
        connection.close.assert_called_once()

    def test_healthz_is_unhealthy_on_a_standby(self) -> None:
        with mock.patch("incidents_site.edge.connection") as connection:
            connection.vendor = "postgresql"
            connection.cursor.return_value.__enter__.return_value.fetchone.return_value = (True,)
            answer = self.client.get("/healthz")
        self.assertEqual(answer.status_code, 503)
        self.assertIn("standby", answer.json()["reason"])


class Repository(TestCase):
    def test_no_migration_is_missing(self) -> None:
        call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())

    def test_a_log_event_is_one_line(self) -> None:
        line = OneLine("%(levelname)s %(message)s")
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "first\nsecond", None, None)
        self.assertEqual(line.format(record), "ERROR first | second")
