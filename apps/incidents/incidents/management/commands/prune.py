"""manage.py prune"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from incidents.models import FailedLogIn, Poll, Round, Sample

BATCH = 5000


class Command(BaseCommand):
    help = "Delete samples, polls and rounds that are older than RETENTION_DAYS. Incidents are kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, default=settings.RETENTION_DAYS)

    def handle(self, *_: Any, days: float, **__: Any) -> None:
        if not 0 < days < 100_000:
            raise CommandError("--days must be above 0")
        limit = timezone.now() - timedelta(days=days)
        old = {
            "samples": Sample.objects.filter(taken_at__lt=limit).order_by("taken_at"),
            "polls": Poll.objects.filter(round__at__lt=limit).order_by("pk"),
            "rounds": Round.objects.filter(at__lt=limit, poll=None).order_by("pk"),
            "failed log-ins": FailedLogIn.objects.filter(at__lt=timezone.now() - timedelta(days=1)).order_by("pk"),
        }
        for name, rows in old.items():
            self.stdout.write(f"{self.delete(rows)} {name}")

    def delete(self, rows: Any) -> int:
        """Delete in batches, so that no transaction is long."""
        count = 0
        while pks := list(rows.values_list("pk", flat=True)[:BATCH]):
            count += rows.model.objects.filter(pk__in=pks).delete()[0]
        return count
