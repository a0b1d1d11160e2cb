"""manage.py demo"""

import os
import secrets
import threading
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone

from incidents import rounds
from incidents.fake import Fleet
from incidents.management.commands.fake_machines import register

PAUSE = 1.0


class Command(BaseCommand):
    help = "On a laptop: create the database and a user, serve fake machines, poll them, and serve the site."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000")
        parser.add_argument("--count", type=int, default=20)

    def handle(self, *_: Any, address: str, count: int, **__: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("only for development: set DJANGO_DEBUG=1, or run: cp example.env .env")
        call_command("migrate", verbosity=0)
        people = get_user_model().objects
        if not people.exists():
            password = os.environ.get("DEMO_PASSWORD") or secrets.token_urlsafe(9)
            people.create_superuser("admin", password=password)
            self.stdout.write(f"Log in as admin with the password {password}")
        fleet = Fleet(("127.0.0.1", 0), count, period=settings.POLL_INTERVAL * 3)
        register(fleet)
        threading.Thread(target=fleet.serve_forever, daemon=True).start()
        threading.Thread(target=self.poll, daemon=True).start()
        call_command("runserver", address, use_reloader=False)

    def poll(self) -> None:
        """Do what beat and a worker do elsewhere."""
        stop = threading.Event()
        while not stop.wait(PAUSE):
            if found := rounds.whole(timezone.now()):
                self.stdout.write(
                    "polled: " + ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())
                )
            connection.close()
