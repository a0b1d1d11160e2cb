"""Beat and workers poll every machine once in a round. Needs requirements-workers.txt."""

import os
import threading
from datetime import UTC, datetime
from importlib.util import find_spec
from ipaddress import ip_network
from unittest import mock, skipUnless

from django.test import TestCase, override_settings

from incidents.fake import Fleet
from incidents.management.commands.fake_machines import register
from incidents.models import Poll, Round, Sample

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@skipUnless(find_spec("celery"), "needs celery")
@override_settings(
    CELERY_BROKER_URL="memory://", POLL_ALLOW=[ip_network("127.0.0.0/8")], POLL_INTERVAL=900, POLL_TIMEOUT=5
)
class Tasks(TestCase):
    def test_a_round_is_polled_once_however_often_it_is_started_and_its_tasks_run(self) -> None:
        with mock.patch.dict(os.environ, {"RELEASE": "test"}):
            from incidents_site.celery import app
        from incidents import tasks

        app.conf.task_always_eager = True
        with Fleet(("127.0.0.1", 0), 5) as fleet, mock.patch.object(fleet, "behaviour", return_value="well"):
            threading.Thread(target=fleet.serve_forever, args=(0.05,), daemon=True).start()
            register(fleet)
            with mock.patch("django.utils.timezone.now", return_value=NOW):
                tasks.start_round.delay()
                tasks.start_round.delay()
            current = Round.objects.get()
            tasks.poll.delay(current.at.isoformat(), list(Poll.objects.values_list("machine", flat=True)))
            fleet.shutdown()
        self.assertEqual((Poll.objects.count(), Sample.objects.count()), (5, 15))
        self.assertIsNotNone(current.finished_at)
