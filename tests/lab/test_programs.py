"""Programs that others wrote, moved in by an inventory: a fresh Django project, FastAPI, Bugsink, and Wagtail.

All of them come from the package index. What a person would change in a project that a tool has started is changed here
as well, and `inv plan` has to ask for it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import bucket, labs
from tests.lab.operator import Operator
from tests.lab.programs import cms_project, projects
from tests.lab.programs.inventory import CHAT, CMS, ERRORS, HOSTS, IMAGE, POLICY, SHOP
from tests.waiting import PATIENCE, until

FOLDER = Path(__file__).parent / "programs"
# The balancer at its public address, and at the one that the other hosts reach.
NAME, ADDRESS, INSIDE = "shop.example", "192.168.67.16", "192.168.66.16"
SILENT = 65


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start four bare hosts. Wheels that an earlier run has downloaded are used again."""
    with labs.lab(
        "programs", HOSTS.replace("SOURCE", str(FOLDER / "chat")), project, packages=labs.PACKAGES
    ) as operator:
        (projects.CACHE / "wheels").mkdir(parents=True, exist_ok=True)
        operator.state.mkdir(parents=True)
        (operator.state / "wheels").symlink_to(projects.CACHE / "wheels")
        operator.inv("lab.up", timeout=300)
        yield operator


@pytest.fixture(scope="module")
def silent(stack: Operator) -> list[dict[str, Any]]:
    """Return a list to which a thread adds what became of a connection that was silent; the first caller starts it."""
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        try:
            answers.append(client(stack, "idle", str(SILENT)))
        except Exception as error:  # noqa: BLE001 - the test shows it
            answers.append({"error": str(error)})

    threading.Thread(target=ask, daemon=True).start()
    return answers


@pytest.fixture(scope="module")
def chat(stack: Operator) -> Path:
    """Return the folder of the FastAPI program, with a lock."""
    source = folder(stack) / "chat"
    shutil.copytree(FOLDER / "chat", source)
    projects.lock(source, "fastapi", "uvicorn", "websockets")
    return source


def folder(stack: Operator) -> Path:
    return stack.inventory.parent


def services(stack: Operator, database: str, **texts: str) -> None:
    """Write an inventory with these services, and nothing else that differs."""
    data = yaml.safe_load(stack.inventory.read_text())
    data["services"] = {name: yaml.safe_load(text) for name, text in texts.items()}
    data["database"]["name"] = database
    stack.inventory.write_text(yaml.safe_dump(data, sort_keys=False))


def client(stack: Operator, *words: str, host: str = "db1") -> dict[str, Any]:
    """Run the WebSocket client on a host, through the balancer, and return what it prints."""
    code = (FOLDER / "websocket.py").read_text()
    found: dict[str, Any] = json.loads(
        stack.on(host, f"python3 - {INSIDE} {NAME} {shlex.join(words)} <<'END'\n{code}\nEND\n")
    )
    return found


def asked(stack: Operator, path: str, address: str = ADDRESS, port: int = 443) -> str:
    """Return status and content type of a page: by default as a visitor gets them."""
    scheme = "https" if port == 443 else "http"
    words = ["curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code} %{content_type}"]
    words += ["--connect-to", f"::{address}:{port}", "-H", "X-Forwarded-Proto: https", f"{scheme}://{NAME}{path}"]
    return stack.on("lb1", shlex.join(words))


def release(stack: Operator, file: str) -> None:
    """Deploy the next release: the same project with one more line in a file."""
    with (folder(stack) / file).open("a") as source:
        source.write("\n# the next release\n")
    stack.inv("deploy")


@pytest.mark.usefixtures("chat")
def test_a_fresh_django_project_needs_only_the_lines_that_plan_shows(stack: Operator) -> None:
    shop = folder(stack) / "shop"
    projects.start(shop, "django-admin", "startproject", "shop")
    projects.lock(shop, "django", "gunicorn")
    services(stack, "shop", web="{source: shop, project: shop}")
    advice = stack.inv("plan", code=1).text
    lines = [
        'SECRET_KEY = os.environ["SECRET_KEY"]',
        'DEBUG = os.environ.get("DEBUG") == "1"',
        'ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")',
        'DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{BASE_DIR}/db.sqlite3")}',
        'STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")',
    ]
    for line in lines:
        assert line in advice
    settings = shop / "shop/settings.py"
    changes = [(rf"^{line.split()[0]} = (\{{.*?^\}}|[^\n]*)$", line) for line in lines[:-1]]
    projects.edit(settings, *changes, (r"^STATIC_URL = [^\n]*", f"STATIC_URL = 'static/'\n{lines[-1]}"))
    services(stack, "shop", web=SHOP, chat=CHAT)
    advice = stack.inv("plan", code=1).text
    assert "os is not defined. Write at the top: import os" in advice
    assert "dj_database_url is not defined. Write at the top: import dj_database_url" in advice
    assert "has no psycopg[binary], with which Django uses PostgreSQL" in advice
    projects.edit(settings, (r"^from pathlib", "import os\nimport dj_database_url\nfrom pathlib"))
    projects.lock(shop, "django", "gunicorn", "psycopg[binary]", "dj-database-url")
    stack.inv("deploy", timeout=600)
    assert asked(stack, "/admin/login/").startswith("200 text/html")
    assert asked(stack, "/static/admin/css/base.css").startswith("200 text/css")
    assert asked(stack, "/nothing") == "404 text/html; charset=utf-8"


@contextlib.contextmanager
def flow(stack: Operator) -> Iterator[list[dict[str, Any]]]:
    """Let messages flow from db1; yield a list that holds what became of them afterwards."""
    flows: list[dict[str, Any]] = []
    stack.on("db1", "rm -f /tmp/ended /tmp/ended.joined")
    thread = threading.Thread(target=lambda: flows.append(client(stack, "flow", "/tmp/ended")))
    thread.start()
    try:
        until(lambda: stack.on("db1", "ls /tmp/ended.joined", check=False))
        yield flows
    finally:
        stack.on("db1", "touch /tmp/ended")
        thread.join()


def test_messages_flow_over_a_release(stack: Operator) -> None:
    with flow(stack) as flows:
        release(stack, "chat/main.py")
    (seen,) = flows
    # Each host restarts once. What was sent at that moment is lost, and the client connects again, to the other host.
    assert seen["cuts"] <= 3
    assert seen["lost"] <= 2
    assert seen["gap"] < 15
    assert seen["sent"] > 20
    assert seen["where"] == ["joined app1", "joined app2"]


def test_in_maintenance_open_connections_live_and_only_allowed_addresses_open_new_ones(stack: Operator) -> None:
    with flow(stack) as flows:
        stack.inv("maintenance", "on", "--service=chat")
        assert client(stack, "idle", "0", host="app1")["answer"] == "still here"
        assert client(stack, "idle", "0")["refused"].startswith("HTTP/1.1 503 ")
        stack.inv("maintenance", "off")
        assert client(stack, "idle", "0")["answer"] == "still here"
    (seen,) = flows
    assert (seen["cuts"], seen["lost"]) == (0, 0)


# Adds a project, and prints the key with which programs report their errors to it.
ADD_PROJECT = """\
from projects.models import Project
from teams.models import Team
print(Project.objects.create(name="shop", team=Team.objects.create(name="all")).sentry_key.hex)
"""


@pytest.mark.usefixtures("chat")
def test_bugsink_and_its_background_process_are_configured_by_environment(stack: Operator) -> None:
    errors = folder(stack) / "errors"
    projects.start(errors, "bugsink-create-conf", "--template=docker", "--output-file", inside="bugsink_conf.py")
    projects.lock(errors, "bugsink", "psycopg[binary]")
    # What its two processes share is in /tmp, and each service process has a /tmp of its own.
    projects.edit(
        errors / "bugsink_conf.py",
        ("'/tmp/snappea.sqlite3'", 'os.environ["QUEUE"] + "/tasks.sqlite3"'),
        ('"PID_FILE": None,', '"PID_FILE": None, "WAKEUP_CALLS_DIR": os.environ["QUEUE"] + "/wake-up",'),
        (r"^BUGSINK = \{", 'BUGSINK = {"INGEST_STORE_BASE_DIR": os.environ["QUEUE"] + "/events",'),
    )
    services(stack, "errors", errors=ERRORS, chat=CHAT)
    stack.inv("deploy", timeout=600)
    key = stack.inv("exec", "errors", "--", "bugsink-manage", "shell", "-v", "0", "-c", ADD_PROJECT).out.split()[-1]

    def report(host: str, number: str) -> None:
        """Report an error to the program on one of the hosts."""
        event = {"event_id": number * 32, "timestamp": time.time(), "platform": "python", "message": f"fault {number}"}
        words = ["curl", "-sSk", "-f", "-H", f"X-Sentry-Auth: Sentry sentry_version=7, sentry_key={key}"]
        words += ["-H", "X-Forwarded-Proto: https", "-H", "Content-Type: application/json", "-d", json.dumps(event)]
        stack.on("lb1", shlex.join([*words, "--connect-to", f"::{host}:8002", f"http://{NAME}/api/1/store/"]))

    count = "runuser -u postgres -- psql -XAtqc 'select count(*) from events_event' errors"
    for number, host in enumerate(("192.168.66.14", "192.168.66.15"), 1):
        report(host, str(number))
        wait = f"until [ $({count}) = {number} ]; do sleep 0.2; done"
        stack.on("db1", f"cd / && timeout {PATIENCE} sh -c {shlex.quote(wait)}")


@pytest.fixture(scope="module")
def pictures(stack: Operator) -> Iterator[bucket.Server]:
    """Run an S3 server with a bucket for the images that visitors see."""
    place = folder(stack) / "bucket"
    place.mkdir()
    with bucket.serving(stack, place, "pictures", POLICY) as server:
        yield server


def test_wagtail_serves_an_uploaded_image_from_both_hosts_before_and_after_a_release(
    stack: Operator, silent: list[dict[str, Any]], pictures: bucket.Server
) -> None:
    assert silent == []
    cms = folder(stack) / "cms"
    projects.start(cms, "wagtail", "start", "cms")
    requirements = ("django", "wagtail", "gunicorn", "psycopg[binary]", "dj-database-url", "whitenoise")
    projects.lock(cms, *requirements, "django-storages[s3]")
    services(stack, "cms", web="{source: cms, project: cms}", chat=CHAT)
    assert "DJANGO_SETTINGS_MODULE: cms.settings.production" in stack.inv("plan", code=1).text
    cms_project.for_hosts(cms)
    shutil.copy(pictures.authority, cms / "authority.pem")
    text = CMS
    for mark, value in (("@ENDPOINT@", pictures.endpoint), ("@KEY@", pictures.key), ("@SECRET@", pictures.secret)):
        text = text.replace(mark, value)
    services(stack, "cms", cms=text, chat=CHAT)
    stack.inv("deploy", timeout=600)
    create = "env DJANGO_SUPERUSER_PASSWORD=red-dots-5 python manage.py createsuperuser --noinput"
    stack.inv("exec", "cms", "--", "sh", "-c", f"{create} --username editor --email e@shop.example")
    script = (FOLDER / "upload.sh").read_text()
    stack.on("lb1", f"base64 -d >/tmp/dot.png <<'END'\n{IMAGE}\nEND\ncat >/tmp/upload.sh <<'END'\n{script}\nEND\n")
    said = stack.on("lb1", f"sh /tmp/upload.sh {ADDRESS} {NAME} red-dots-5 /tmp/dot.png")
    assert said == f"302 https://{NAME}/admin/images/\n"
    image = "/media/original_images/dot.png"
    places = [(ADDRESS, 443), ("192.168.66.14", 8000), ("192.168.66.15", 8000)]
    assert [asked(stack, image, *place) for place in places] == ["200 image/png"] * 3
    release(stack, "cms/cms/urls.py")
    assert [asked(stack, image, *place) for place in places] == ["200 image/png"] * 3
    read = f"curl -sSk --connect-to ::{ADDRESS}: https://{NAME}{image} | base64 -w 0"
    assert stack.on("lb1", read) == IMAGE


def test_a_connection_that_was_silent_for_more_than_a_minute_lives(silent: list[dict[str, Any]]) -> None:
    (seen,) = until(lambda: list(silent))
    assert seen.get("answer") == "still here", seen
