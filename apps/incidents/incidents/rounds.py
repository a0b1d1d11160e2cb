"""A round polls every active machine once. All steps can be repeated: a machine has at most one poll in a round."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from incidents import fetch, judging
from incidents.models import Incident, Machine, Poll, Round, Sample

CHUNK = 250  # machines that one task polls, at the same time
# Tasks that were not done in this time were lost, for example with the broker, and are sent again.
SENT_AGAIN = timedelta(seconds=120)


def slot(now: datetime) -> datetime:
    """Return the time of the round that belongs to a moment: the last multiple of the interval."""
    return datetime.fromtimestamp(now.timestamp() // settings.POLL_INTERVAL * settings.POLL_INTERVAL, UTC)


def due(current: Round) -> list[int]:
    """Return the machines that have not been polled in a round."""
    polled = Poll.objects.filter(round=current).values("machine")
    return list(
        Machine.objects.filter(active=True)
        .exclude(address="")
        .exclude(pk__in=polled)
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def begin(now: datetime) -> tuple[Round, list[list[int]]]:
    """Return the current round and the machines to poll now, in chunks: none if they are being polled or are done."""
    current, _ = Round.objects.get_or_create(at=slot(now))
    with transaction.atomic():
        current = Round.objects.select_for_update().get(pk=current.pk)
        if current.finished_at or (current.sent_at and now - current.sent_at < SENT_AGAIN):
            return current, []
        if current.sent_at is None:
            forget_unpolled(now)
        pks = due(current)
        if pks:
            current.sent_at = now
        else:
            current.finished_at = now
        current.save(update_fields=["sent_at", "finished_at"])
    return current, list(chunks(pks))


def chunks(pks: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(pks), CHUNK):
        yield list(pks[start : start + CHUNK])


def poll(current: Round, pks: Sequence[int]) -> Counter[str]:
    """Poll machines and return how many had which outcome. Machines that were polled in this round are left out."""
    wanted = set(due(current)) & set(pks)
    machines = list(Machine.objects.filter(pk__in=wanted).order_by("pk"))
    results = fetch.fetch_all(machine.address for machine in machines)
    return store(current, dict(zip((machine.pk for machine in machines), results, strict=True)))


@transaction.atomic
def store(current: Round, results: dict[int, fetch.Result]) -> Counter[str]:
    """Store results and judge them. Of two workers with the same machine, the second one stores nothing."""
    present = judging.locked(results)
    polled = set(Poll.objects.filter(round=current, machine__in=present).values_list("machine", flat=True))
    new = {pk: result for pk, result in results.items() if pk in present and pk not in polled}
    Poll.objects.bulk_create(
        Poll(
            round=current,
            machine_id=pk,
            taken_at=result.taken_at,
            outcome=result.outcome,
            detail=result.detail,
            milliseconds=result.milliseconds,
            uptime=result.answer.uptime,
        )
        for pk, result in new.items()
    )
    Sample.objects.bulk_create(
        Sample(machine_id=pk, metric=metric, value=value, taken_at=result.taken_at)
        for pk, result in new.items()
        for metric, value in result.answer.values.items()
    )
    if new:
        judging.judge_polls(list(new), max(result.taken_at for result in new.values()))
    if new and not current.finished_at and not due(current):
        Round.objects.filter(pk=current.pk, finished_at=None).update(finished_at=timezone.now())
    return Counter(str(result.outcome) for result in new.values())


def whole(now: datetime) -> Counter[str]:
    """Poll everything that is due, in this process."""
    current, found = begin(now)
    return sum((poll(current, pks) for pks in found), Counter[str]())


def forget_unpolled(now: datetime) -> None:
    """Close what only polls could close, on machines that are no longer polled."""
    left = Incident.objects.filter(closed_at=None, kind__in=("silent", "unusable"))
    left.filter(Q(machine__active=False) | Q(machine__address="")).update(closed_at=Greatest("opened_at", Value(now)))
