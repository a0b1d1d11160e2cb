"""Settings, from these environment variables:

    DJANGO_SECRET_KEY            required; 50 characters or more
    DJANGO_SECRET_KEY_FALLBACKS  other keys accepted for existing sessions, separated by commas; default none
    DJANGO_ALLOWED_HOSTS         required; the site's host names, separated by commas
    DJANGO_CSRF_TRUSTED_ORIGINS  origins such as https://shop.example:8443, separated by commas; default none
    DJANGO_DEBUG                 1: development, where no variable is required; default off
    API_TOKEN                    required; the bearer token of /api/samples
    API_TOKEN_PREVIOUS           other tokens that are accepted, separated by commas; default none
    RELEASE                      required; the ID of this release, shown in every response
    STATIC_ROOT                  required; the folder that collectstatic writes to and static files are served from
    DB_HOSTS                     required; PostgreSQL hosts, separated by commas; the app finds the primary
    DB_PORT                      their port; default 5432
    DB_NAME, DB_USER             required
    DB_PASSWORD or DB_PASSFILE   one is required; DB_PASSFILE is a libpq password file (mode 0600)
    DB_SSLROOTCERT               the CA certificate of the servers; turns on sslmode=verify-full
    DATABASE_ENGINE              postgresql (default), mysql (also MariaDB; DB_HOSTS is then one host), or sqlite
    LOGIN_REQUIRED               1: the pages need a log-in; default 0
    LOGIN_HOURS, LOGIN_IDLE_MINUTES  how long a log-in is valid, and how long without a request; default 12, 60
    POLL_INTERVAL                seconds between two rounds; default 900
    POLL_TIMEOUT                 seconds that a machine has for its whole answer; default 10
    POLL_CONCURRENCY             requests at a time in one process; default 250
    POLL_MAX_BODY                bytes of an answer; default 65536
    POLL_ALLOW, POLL_DENY        networks that may be polled although they are not public, or never; default none
    LIMIT_CPU, LIMIT_MEMORY, LIMIT_DISK   per cent; default 85, 90, 95. The admin overrides them
    LIMIT_CPU_MINUTES and so on  how long every sample must be above the limit; default 0, 30, 120
    LIMIT_SILENT_MINUTES, LIMIT_UNUSABLE_MINUTES  how long a machine may give no answer, or a useless one; default 0
    RETENTION_DAYS               how long `manage.py prune` keeps samples and polls; default 30
    CELERY_BROKER_URL            where beat and the workers find each other; only they need it

In development (DJANGO_DEBUG=1) and under `manage.py test`, the required variables have safe defaults, and without
DB_HOSTS the database is SQLite.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from incidents_site.values import at_least, networks, switch, words

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = os.environ.get("DJANGO_DEBUG", "") == "1"
TESTING = sys.argv[1:2] == ["test"]
DEVELOPMENT = DEBUG or TESTING


def required(name: str, in_development: str = "") -> str:
    value = os.environ.get(name, "")
    if not value and not DEVELOPMENT:
        raise ImproperlyConfigured(f"{name} is not set; incidents_site/settings.py lists the variables")
    return value or in_development


# Seconds that a transaction may pause, or wait for a lock. On a busy machine, a test may pause longer than a request.
PAUSE = 60 if sys.argv[1:2] == ["test"] else 3


def mysql() -> dict[str, Any]:
    import pymysql

    pymysql.install_as_MySQLdb()
    hosts = words(required("DB_HOSTS"))
    if len(hosts) != 1:
        raise ImproperlyConfigured("DB_HOSTS must be one host with DATABASE_ENGINE=mysql")
    options: dict[str, Any] = {"charset": "utf8mb4", "connect_timeout": 2, "isolation_level": "read committed"}
    if sys.argv[1:2] != ["migrate"]:
        # As with PostgreSQL: neither a dead server nor the locks of a vanished host must block. Only MariaDB reads
        # what is between /*M! and */.
        locks = f"SET innodb_lock_wait_timeout = {PAUSE} /*M!, idle_transaction_timeout = {PAUSE} */"
        options |= {"read_timeout": 30, "write_timeout": 10, "init_command": locks}
    if authority := os.environ.get("DB_SSLROOTCERT"):
        options["ssl"] = {"ca": authority}
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": required("DB_NAME"),
        "USER": required("DB_USER"),
        "PASSWORD": required("DB_PASSWORD"),
        "HOST": hosts[0],
        "PORT": os.environ.get("DB_PORT") or "3306",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def postgresql() -> dict[str, Any]:
    hosts = words(required("DB_HOSTS"))
    options: dict[str, Any] = {
        # Connect to the current primary. Try the hosts in random order, so that a dead one delays only some of them.
        "target_session_attrs": "read-write",
        "load_balance_hosts": "random",
        # Together, these settings detect within three seconds that a host is gone.
        "connect_timeout": 2,
        "tcp_user_timeout": 3000,
        "keepalives": 1,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "application_name": "incidents",
    }
    if sys.argv[1:2] != ["migrate"]:
        # If an application host vanishes during a transaction, its row locks must not block the others.
        options["options"] = f"-c idle_in_transaction_session_timeout={PAUSE}s -c lock_timeout={PAUSE}s"
    if passfile := os.environ.get("DB_PASSFILE"):
        options["passfile"] = passfile
    if authority := os.environ.get("DB_SSLROOTCERT"):
        options |= {"sslmode": "verify-full", "sslrootcert": authority}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": required("DB_NAME"),
        "USER": required("DB_USER"),
        "PASSWORD": "" if passfile else required("DB_PASSWORD"),
        "HOST": ",".join(hosts),
        "PORT": ",".join([os.environ.get("DB_PORT") or "5432"] * len(hosts)),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


SECRET_KEY = required("DJANGO_SECRET_KEY", "only for development, never for a host that others can reach")
SECRET_KEY_FALLBACKS = words(os.environ.get("DJANGO_SECRET_KEY_FALLBACKS", ""))
ALLOWED_HOSTS = words(required("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1"))
CSRF_TRUSTED_ORIGINS = words(os.environ.get("DJANGO_CSRF_TRUSTED_ORIGINS", ""))
API_TOKEN = required("API_TOKEN", "development")
API_TOKEN_PREVIOUS = words(os.environ.get("API_TOKEN_PREVIOUS", ""))
RELEASE = required("RELEASE", "development")
STATIC_ROOT = required("STATIC_ROOT") or None

LOGIN_REQUIRED = switch("LOGIN_REQUIRED")
LOGIN_SECONDS = at_least(0, "LOGIN_HOURS", 12) * 3600
LOGIN_IDLE_SECONDS = at_least(1, "LOGIN_IDLE_MINUTES", 60) * 60
POLL_INTERVAL = at_least(1, "POLL_INTERVAL", 900)
POLL_TIMEOUT = at_least(0.1, "POLL_TIMEOUT", 10)
POLL_CONCURRENCY = int(at_least(1, "POLL_CONCURRENCY", 250))
POLL_MAX_BODY = int(at_least(1, "POLL_MAX_BODY", 65536))
POLL_ALLOW, POLL_DENY = networks("POLL_ALLOW"), networks("POLL_DENY")
LIMITS = {name: at_least(0, name, 0) for name in os.environ if re.fullmatch("LIMIT_[A-Z_]+", name) and os.environ[name]}
RETENTION_DAYS = at_least(1, "RETENTION_DAYS", 30)
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "")
# Beat only asks for the current round to be started, so that it may be late, restarted, or moved to another host.
BEAT_SECONDS = min(POLL_INTERVAL, 30)

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3", "OPTIONS": {"timeout": 20}}
ENGINE = os.environ.get("DATABASE_ENGINE") or (
    "sqlite" if DEVELOPMENT and not os.environ.get("DB_HOSTS") else "postgresql"
)
if ENGINE not in ("sqlite", "postgresql", "mysql"):
    raise ImproperlyConfigured(f"DATABASE_ENGINE is {ENGINE!r}; it must be postgresql, mysql or sqlite")
DATABASES = {"default": SQLITE if ENGINE == "sqlite" else mysql() if ENGINE == "mysql" else postgresql()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "incidents",
]

MIDDLEWARE = [
    "incidents_site.edge.Edge",  # first, because the Host header of health checks may be an IP address
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "incidents.login.LogIn",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "incidents_site.urls"
WSGI_APPLICATION = "incidents_site.wsgi.application"

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
HASHED_STATIC = "whitenoise.storage.CompressedManifestStaticFilesStorage"
PLAIN_STATIC = "django.contrib.staticfiles.storage.StaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": PLAIN_STATIC if DEVELOPMENT else HASHED_STATIC},
}

# TLS ends at the balancer, which sets X-Forwarded-Proto, redirects plain HTTP and sends HSTS.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "incidents_site.edge.OneLine", "format": "%(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "level": "CRITICAL" if TESTING else "INFO",  # tests cause many expected errors
        },
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
    },
}
