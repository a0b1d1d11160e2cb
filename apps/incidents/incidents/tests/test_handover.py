"""What readers and writers see while the database fails over."""

from typing import Any
from unittest import mock

from django.core.paginator import Paginator
from django.db import OperationalError
from django.test import TestCase, override_settings

from incidents_site import edge

SAMPLE = {"machine": "press-1", "metric": "temperature", "value": 21.5}
GONE = OperationalError("the primary is gone")


@override_settings(API_TOKEN="t0ken")
class Handover(TestCase):
    def setUp(self) -> None:
        # Keep the test's own connection open: its transaction contains the rows.
        self.connection = self.enterContext(mock.patch("incidents_site.edge.connection"))
        self.enterContext(mock.patch("incidents_site.edge.PAUSE", 0))
        self.enterContext(self.assertLogs("incidents_site.edge"))

    def missing(self, *times: Any) -> Any:
        pages = Paginator.get_page
        self.tries = iter(times)

        def get_page(paginator: "Paginator[Any]", number: Any) -> Any:
            for error in self.tries:
                raise error
            return pages(paginator, number)

        return mock.patch.object(Paginator, "get_page", get_page)

    def test_a_reader_waits_for_the_handover_and_gets_the_page(self) -> None:
        with self.missing(GONE, GONE):
            self.assertEqual(self.client.get("/api/incidents").status_code, 200)
        self.assertEqual(self.connection.close.call_count, 2)

    def test_a_reader_gets_an_error_if_the_handover_takes_too_long(self) -> None:
        with mock.patch.object(edge, "PATIENCE", -1), self.missing(GONE):
            self.assertEqual(self.client.get("/api/incidents").status_code, 503)

    def test_a_writer_gets_an_error_immediately(self) -> None:
        with mock.patch("incidents.intake.store", side_effect=GONE):
            answer = self.client.post(
                "/api/samples",
                SAMPLE,
                content_type="application/json",
                headers={"Authorization": "Bearer t0ken"},
            )
        self.assertEqual((answer.status_code, answer["Retry-After"]), (503, "1"))
        self.connection.close.assert_not_called()
