"""The tasks of Celery. Each can run twice, or at the same time as itself: see rounds.py."""

import logging
from datetime import datetime

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from incidents import rounds
from incidents.models import Round

log = logging.getLogger(__name__)


@shared_task
def start_round() -> None:
    """Send the tasks of the current round, unless they have been sent; and again those that were lost."""
    current, chunks = rounds.begin(timezone.now())
    for pks in chunks:
        # A machine that cannot be polled before the next round is polled in that one.
        poll.apply_async((current.at.isoformat(), pks), expires=settings.POLL_INTERVAL)
    if chunks:
        log.info("round %s: %d machines in %d tasks", current, sum(map(len, chunks)), len(chunks))


@shared_task
def poll(at: str, pks: list[int]) -> None:
    """Poll some machines of a round."""
    current = Round.objects.filter(at=datetime.fromisoformat(at)).first()
    if current is None:
        return  # pruned since
    found = rounds.poll(current, pks)
    log.info("round %s: %s", current, ", ".join(f"{count} {name}" for name, count in found.most_common()) or "no news")
