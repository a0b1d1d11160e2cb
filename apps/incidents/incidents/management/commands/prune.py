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
        yesterday = timezone.now() - timedelta(days=1)
        # A round is older than its polls.
        self.delete("samples", Sample.objects.filter(taken_at__lt=limit), "taken_at")
        self.delete("polls", Poll.objects.filter(taken_at__lt=limit), "taken_at")
        self.delete("rounds", Round.objects.filter(at__lt=limit, poll=None), "at")
        self.delete("failed log-ins", FailedLogIn.objects.filter(at__lt=yesterday), "at")

    def delete(self, name: str, rows: Any, time: str) -> None:
        """Delete the oldest rows first, in batches, so that no transaction is long and nothing waits for one.

        Each batch begins where the one before ended: finding it does not pass over all that was deleted before.
        """
        count, batch = 0, list(rows.order_by(time).values_list("pk", time)[:BATCH])
        while batch:
            count += rows.model.objects.filter(pk__in=[pk for pk, _ in batch]).delete()[0]
            rows = rows.filter(**{f"{time}__gte": batch[-1][1]})
            batch = list(rows.order_by(time).values_list("pk", time)[:BATCH])
        self.stdout.write(f"{count} {name}")
