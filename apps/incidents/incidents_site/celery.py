"""Celery: beat starts rounds, workers poll. Run with requirements-workers.txt and CELERY_BROKER_URL:

celery -A incidents_site.celery worker --concurrency 2
celery -A incidents_site.celery beat          # exactly one
"""

import os

import django
from celery import Celery
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from incidents_site import environment_file

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "incidents_site.settings")
if "RELEASE" not in os.environ:
    environment_file.load()
django.setup()
if not settings.CELERY_BROKER_URL:
    raise ImproperlyConfigured("CELERY_BROKER_URL is not set; incidents_site/settings.py lists the variables")

app = Celery("incidents", broker=settings.CELERY_BROKER_URL)
app.conf.update(
    imports=["incidents.tasks"],
    # A task is done when it has ended, not when a worker has received it; another worker repeats it otherwise.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    task_time_limit=120,
    # The broker gives a task to another worker after this time: longer than a task may take.
    broker_transport_options={"visibility_timeout": 300, "socket_timeout": 10, "socket_connect_timeout": 5},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_hijack_root_logger=False,
    timezone="UTC",
    # Releases are read-only, and beat needs no memory: starting a round again changes nothing.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "rounds": {
            "task": "incidents.tasks.start_round",
            "schedule": settings.BEAT_SECONDS,
            "options": {"expires": settings.BEAT_SECONDS},
        }
    },
)
