"""manage.py fake_machines --count=20"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from incidents.fake import Fleet
from incidents.models import Machine


def register(fleet: Fleet, url: str = "") -> None:
    """Let the poller know the machines of a fleet."""
    for number in range(1, fleet.count + 1):
        address = f"{url or fleet.url}/{number}"
        defaults = {"address": address, "location": "fake"}
        Machine.objects.update_or_create(name=f"fake-{number:04}", defaults=defaults)


class Command(BaseCommand):
    help = "Serve machines that misbehave in turn, until it is interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=20)
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
        parser.add_argument("--port", type=int, default=9900)
        parser.add_argument(
            "--period", type=float, default=300, help="seconds until each machine changes its behaviour"
        )
        parser.add_argument("--register", action="store_true", help="also store them as machines to poll")
        parser.add_argument("--url", default="", help="with --register: where the poller finds them")

    def handle(self, *_: Any, count: int, host: str, port: int, period: float, **options: Any) -> None:
        if count < 1 or period <= 0:
            raise CommandError("--count and --period must be above 0")
        try:
            fleet = Fleet((host, port), count, period)
        except OSError as error:
            raise CommandError(f"{host}:{port}: {error}") from None
        with fleet:
            if options["register"]:
                register(fleet, options["url"])
            self.stdout.write(f"{count} machines at {fleet.url}/1 to /{count}; stop with Ctrl-C")
            try:
                fleet.serve_forever()
            except KeyboardInterrupt:
                self.stdout.write("stopped")
