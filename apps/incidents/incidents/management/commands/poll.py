"""manage.py poll"""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from incidents import rounds


class Command(BaseCommand):
    help = "Poll, in this process, the machines that are due in the current round. Celery does the same in its workers."

    def handle(self, *_: Any, **__: Any) -> None:
        found = rounds.whole(timezone.now())
        said = ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())
        self.stdout.write(said or "nothing is due")
