"""The example application in a browser: log-in, a list that refreshes itself, and a machine's page on a phone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.commands.browser import Browser, chromium
from tests.ports import free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"Authorization": "Bearer development"}
ROWS = "[...document.querySelectorAll('#incidents tr')]"


class Site:
    """The application under Django's own server."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.environment = {**os.environ, "DJANGO_DEBUG": "1", "LOGIN_REQUIRED": "1"}
        self.environment["DJANGO_SUPERUSER_PASSWORD"] = "sesame"
        self.manage("migrate", "--verbosity=0")
        self.manage("createsuperuser", "--noinput", "--username=ann", "--email=ann@shop.example")
        self.start()

    def manage(self, *words: str) -> None:
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self.answers, "the application does not start")

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/livez", timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def sample(self, value: float, machine: str = "press-1", metric: str = "temperature") -> None:
        body = {"machine": machine, "metric": metric, "value": value}
        requests.post(f"{self.url}/api/samples", json=body, headers=TOKEN, timeout=PATIENCE).raise_for_status()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site") / "incidents"
    shutil.copytree(ROOT / "apps/incidents", folder, ignore=shutil.ignore_patterns(".*", "*.sqlite3", "__pycache__"))
    script = folder / "incidents/templates/incidents/list.html"
    script.write_text(
        script.read_text(encoding="utf-8").replace('data-seconds="10"', 'data-seconds="0.3"'), encoding="utf-8"
    )
    made = Site(folder)
    made.sample(50)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    with chromium() as found:
        found.open(f"{site.url}/?state=")
        yield found


def log_in(browser: Browser, password: str) -> None:
    fields = {"name": "ann", "password": password}
    for name, value in fields.items():
        browser.run(f"document.querySelector('input[name={name}]').value = '{value}'")
    browser.run("document.querySelector('form').requestSubmit()")


@pytest.fixture(scope="module")
def inside(browser: Browser) -> Browser:
    browser.until("document.title === 'Log in' && document.readyState === 'complete'")
    log_in(browser, "wrong")
    browser.until("document.querySelector('[role=alert]')?.innerText === 'Wrong name or password.'")
    browser.until("document.readyState === 'complete'")
    log_in(browser, "sesame")
    browser.until("document.title === 'Incidents' && location.search === '?state='")
    return browser


def test_the_list_refreshes_itself_and_keeps_what_the_visitor_does(site: Site, inside: Browser) -> None:
    assert inside.run("document.cookie.includes('incidents_login')") is False
    inside.open(f"{site.url}/?state=")
    inside.run("window.same = true; document.querySelector('[name=machine]').value = 'half a na'")
    inside.run("document.querySelector('[name=machine]').focus()")
    site.sample(99)
    inside.until(f"{ROWS}.length === 1 && {ROWS}[0].innerText.includes('temperature is 99, over 80')")
    assert inside.run("document.title") == "Incidents (1 open)"
    inside.run(f"window.first = {ROWS}[0]")
    site.sample(99, machine="<b>press-2</b>")
    inside.until(f"{ROWS}.length === 2 && {ROWS}[0].innerText.includes('<b>press-2</b>')")
    site.sample(20)
    inside.until("window.first.classList.contains('closed') && window.first.innerText.includes('closed')")
    assert inside.run("document.querySelector('#open').innerText") == "1 open"
    site.stop()
    inside.until("document.querySelector('#live').innerText.startsWith('The server does not answer')")
    assert inside.run(f"{ROWS}.length") == 2
    site.start()
    site.sample(99, machine="press-3")
    inside.until(f"{ROWS}.length === 3")
    inside.until("document.querySelector('#live').innerText.startsWith('Up to date')")
    assert inside.run("window.same && document.activeElement.value") == "half a na"


def test_pages_fit_a_phone_and_have_a_dark_mode(site: Site, inside: Browser) -> None:
    inside.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=2, mobile=True)
    for scheme in ("light", "dark"):
        inside.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for page in ("/", "/machines/", "/machines/1/?days=7", "/login/"):
            inside.open(f"{site.url}{page}")
            assert inside.run("document.documentElement.scrollWidth") <= 375, page
            color = inside.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
            assert (sum(map(int, color[:3])) > 380) is (scheme == "light"), page
            if "machines/1" in page:
                assert inside.run("document.querySelectorAll('svg.chart polyline, svg.chart circle').length") > 0


def test_a_session_that_has_ended_is_said_and_the_log_in_leads_back(site: Site, inside: Browser) -> None:
    inside.open(f"{site.url}/?state=open")
    inside.call("Network.clearBrowserCookies")
    inside.until("document.querySelector('#live a')?.getAttribute('href') === '/login/?next=%2F%3Fstate%3Dopen'")
