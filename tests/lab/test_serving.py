"""What visitors of two application hosts get: files, and an answer to every request while the hosts change."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.labs import PACKAGES, lab
from tests.lab.load import Load
from tests.lab.operator import ROOT, Operator
from tests.lab.serving_stack import ADDRESS, NAME, inventory
from tests.waiting import PATIENCE, until

SOURCES = Path(__file__).parent / "serving"
METRICS = "/var/lib/prometheus/node-exporter/plainstack_cache.prom"
COUNTED = {"/": "/var/lib/app-web/media/counted", "/api/": "/var/lib/app-api/media/counted"}
# For each of the two services: requests per second, and how many are counted at least.
RATE, LEAST = 60, 1500


@pytest.fixture(scope="module")
def serving(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Deploy a balancer and two hosts with four services, from sources that the tests may change."""
    sources = tmp_path_factory.mktemp("serving") / "sources"
    shutil.copytree(SOURCES, sources)
    shutil.copy(ROOT / "apps/incidents/requirements.txt", sources / "site")
    with lab("serving", yaml.safe_dump(inventory(sources), sort_keys=False), project, packages=PACKAGES) as operator:
        own = operator.inventory.parent / f"nginx/in.{NAME}.d"
        own.mkdir(parents=True)
        (own / "robots.conf").write_text('location = /robots.txt {\n    return 200 "nobody\\n";\n}\n')
        operator.inv("lab.up", timeout=900)
        operator.inv("deploy", timeout=1200)
        yield operator


def change(serving: Operator, service: str, **values: Any) -> None:
    """Replace keys of a service in the inventory."""
    data = yaml.safe_load(serving.inventory.read_text(encoding="utf-8"))
    data["services"][service] |= values
    serving.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def source(serving: Operator, service: str) -> Path:
    data = yaml.safe_load(serving.inventory.read_text(encoding="utf-8"))
    return Path(data["services"][service]["source"])


def visitors(serving: Operator, path: str, output: Path) -> Load:
    """Start the requests to a service; its POSTs go to `count` below the path."""
    asked = {
        "address": ADDRESS,
        "name": NAME,
        "authority": serving.on("lb1", "cat /etc/plainstack/tls/ca.crt"),
        "path": path,
        "rate": RATE,
        "seconds": 1200,
        "post": {"post_path": f"{path}count", "body": "${key}", "headers": {}, "prefix": "visit-", "reuse": True},
    }
    return Load(serving.lab, asked, output)


def workers(serving: Operator) -> str:
    """Return the processes of nginx that serve requests; a reload replaces them."""
    return serving.on("lb1", "pgrep -P $(cat /run/nginx.pid) -f 'worker process'")


def _release_one_and_restart_the_other(serving: Operator, number: int) -> None:
    (source(serving, "web") / "release.txt").write_text(f"{number}\n", encoding="utf-8")
    change(serving, "api", env={"RESTARTED": str(number)})
    serving.inv("deploy")


def _roll_back(serving: Operator, _number: int) -> None:
    serving.inv("rollback", "--service=web")


def _release_the_other(serving: Operator, number: int) -> None:
    (source(serving, "api") / "release.txt").write_text(f"{number}\n", encoding="utf-8")
    # New content ends the rollback.
    (source(serving, "web") / "release.txt").write_text(f"{number}\n", encoding="utf-8")
    serving.inv("deploy")


def _restart(serving: Operator, _number: int) -> None:
    serving.inv("restart", "web")


def test_no_request_fails_during_a_release_a_rollback_or_a_restart(serving: Operator, tmp_path: Path) -> None:
    """Gunicorn keeps idle connections open for a moment when it stops, and uvicorn closes them at once."""
    before = workers(serving)
    loads = {path: visitors(serving, path, tmp_path / str(number)) for number, path in enumerate(COUNTED)}
    changes = (_release_one_and_restart_the_other, _roll_back, _release_the_other, _restart)
    try:
        for number, each in enumerate(changes):
            each(serving, number)
        for load in loads.values():
            load.await_answers(LEAST)
    finally:
        for load in loads.values():
            load.stop()
    # On a busy machine, a start may take more than ten seconds. The balancer then reloads, and closes connections that
    # are idle, perhaps just when a POST arrives.
    lost = {"post connection reset"} if workers(serving) != before else set()
    for path, load in loads.items():
        seen, answered = load.outcomes()
        assert set(seen) - lost == {"get ok", "post ok"}, seen
        lines = [line for host in ("app1", "app2") for line in serving.on(host, f"cat {COUNTED[path]}").split()]
        stored = Counter(lines)
        assert {f"visit-{key}" for key in answered} <= set(stored)
        assert set(stored.values()) == {1}


def _move(serving: Operator, by: int, status: int = 218) -> None:
    """Change the ports of Gunicorn, uvicorn and an nginx; the health page of `api` answers 218."""
    data = yaml.safe_load(serving.inventory.read_text(encoding="utf-8"))
    services = data["services"]
    process = services["api"]["processes"]["web"]
    process |= {"port": 8010 + by, "health": process["health"] | {"status": [status]}}
    # How long a deploy waits for another answer.
    process["start_timeout"] = 60 if status == 218 else 10
    services["web"]["port"], services["docs"]["port"] = 8000 + by, 8084 + by
    serving.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def test_no_request_fails_while_ports_change_or_when_that_fails(serving: Operator, tmp_path: Path) -> None:
    """uvicorn listens at one port only, and the balancer does not know the new one when a deploy stops at app1."""
    loads = {path: visitors(serving, path, tmp_path / str(number)) for number, path in enumerate(COUNTED)}
    nat = "iptables-save -t nat | grep -c -e '--dport 8011 .*:8012$' || :"
    try:
        _move(serving, 1)
        assert "api also answers at port 8010 until every balancer uses 8011" in serving.inv("plan", code=2).out
        serving.inv("deploy")
        _move(serving, 2, status=299)
        assert "app2: app: not attempted" in serving.inv("deploy", code=1).text
        assert serving.on("app1", nat).strip() == "0"
        _move(serving, 2)
        serving.inv("deploy", "--role=app")
        assert serving.on("app1", nat).strip() == "2"
        serving.inv("restart", "api")
        serving.inv("deploy")
        assert serving.on("app1", nat).strip() == "0"
        for load in loads.values():
            load.await_answers(LEAST)
    finally:
        for load in loads.values():
            load.stop()
    for load in loads.values():
        # A balancer that reloads closes connections that are idle, perhaps just when a POST arrives.
        assert set(load.outcomes()[0]) - {"post connection reset"} == {"get ok", "post ok"}, load.outcomes()[0]
    assert got(serving, "/docs/")[0] == "200"


def got(serving: Operator, path: str, name: str = NAME) -> tuple[str, str, str]:
    """Return the status, the cache header and the text of a page, as a visitor gets them."""
    show = "-w '\n%{http_code}|%header{cache-control}'"
    page = serving.on("lb1", f"curl -sk {show} --connect-to ::{ADDRESS}: https://{name}{path}")
    text, _, about = page.rpartition("\n")
    status, _, cached = about.partition("|")
    return status, cached, text


def test_a_name_has_routes_of_its_own(serving: Operator) -> None:
    answer = "%{http_code}|%header{x-robots-tag}|%{redirect_url}\n"
    show = f"curl -sk -o /dev/null -w '{answer}' --connect-to ::{ADDRESS}:"

    def seen(url: str, options: str = "") -> list[str]:
        return serving.on("lb1", f"{show} {options} {url}").strip().split("|")

    kept = yaml.safe_load((serving.state / "secrets.yaml").read_text(encoding="utf-8"))
    login = f"-u jane:{kept['passwords']['balancer/users/jane']}"
    assert seen(f"https://www.{NAME}/a?b=c") == ["301", "", f"https://{NAME}/a?b=c"]
    assert seen(f"https://in.{NAME}/")[0] == "401"
    assert seen(f"https://in.{NAME}/", f"{login} --http3-only") == ["200", "noindex", ""]
    assert seen(f"https://{NAME}/") == ["200", "", ""]
    assert [seen(f"https://in.{NAME}/few/")[0] for _ in range(3)] == ["404", "404", "429"]
    assert seen(f"https://in.{NAME}/docs/", "--http2")[0] == "200"


def test_lines_of_the_stacks_own_are_part_of_the_configuration_if_they_are_valid(serving: Operator) -> None:
    """An error in them names the file in the stack's folder and the line, and the site keeps its configuration."""
    file = serving.inventory.parent / f"nginx/in.{NAME}.d/robots.conf"
    assert got(serving, "/robots.txt", f"in.{NAME}")[2] == "nobody\n"
    good = file.read_text()
    file.write_text(good.replace("return", "retrun"))
    failed = serving.inv("deploy", "--role=balancer", code=1)
    assert f'unknown directive "retrun" in nginx/in.{NAME}.d/robots.conf:2' in failed.text
    assert got(serving, "/robots.txt", f"in.{NAME}")[2] == "nobody\n"
    file.write_text(good)


def test_every_check_makes_the_request_that_the_service_declares(serving: Operator) -> None:
    """The health page of `api` answers 218, and only under another name than the site's."""
    verified = serving.json("verify", "--role=app,balancer")
    assert [check["name"] for check in verified["checks"] if not check["passed"]] == []
    assert got(serving, "/api/up")[0] == "218"


FOREVER, ASKED = "public, max-age=31536000, immutable", "no-cache"


def test_files_are_served_with_pages_for_what_is_missing(serving: Operator) -> None:
    assert got(serving, "/docs/")[:2] == ("200", ASKED)
    assert got(serving, "/docs/guide/") == ("200", ASKED, "guide\n")
    assert got(serving, "/docs/guide")[0] == "301"
    assert got(serving, "/docs/nothing") == ("404", ASKED, "no such page\n")
    assert got(serving, "/docs/assets/app-3f9ac0d1.js") == ("200", FOREVER, "// first\n")
    assert got(serving, "/app/any/page", f"in.{NAME}") == ("200", ASKED, "front\n")
    assert got(serving, "/app/missing.js", f"in.{NAME}")[0] == "404"


def test_a_balancer_keeps_files_until_they_are_purged(serving: Operator) -> None:
    url = f"https://in.{NAME}/docs/assets/app-3f9ac0d1.js"
    show = f"curl -sk -o /dev/null -w '%header{{x-cache-status}}\n' --connect-to ::{ADDRESS}: {url}"

    def seen() -> str:
        return serving.on("lb1", show).strip()

    assert seen() == "MISS"
    # A response is stored a moment after the visitor has it.
    until(lambda: seen() == "HIT")
    assert serving.json("cache.purge", url) == {"purged": {"lb1": 1}, "failed": {}}
    assert seen() == "MISS"
    until(lambda: seen() == "HIT")
    counts = f"sh -c 'until grep hit.*[1-9][0-9]*$ $0; do sleep 0.5; done' {METRICS}"
    counted = serving.on("lb1", f"timeout {PATIENCE} {counts}")
    assert counted.startswith('plainstack_cache_requests_total{service="docs",result="hit"} ')


def test_the_files_of_a_release_that_fails_do_not_replace_those_of_the_one_that_runs(serving: Operator) -> None:
    site = source(serving, "web")
    urls, files = (
        site / "shop/urls.py",
        {site / "assets/plain.css": "/* new */\n", site / "assets/new.css": "/* new */\n"},
    )
    before = urls.read_text(encoding="utf-8")
    urls.write_text(before.replace('path("healthz"', 'path("elsewhere"'), encoding="utf-8")
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    assert "app1" in serving.inv("deploy", code=1).text
    # As after a deploy, a file that only the new release has is there for its pages.
    assert got(serving, "/static/plain.css")[2] == "/* first */\n"
    assert got(serving, "/static/new.css")[2] == "/* new */\n"
    urls.write_text(before, encoding="utf-8")
    serving.inv("deploy")
    assert got(serving, "/static/plain.css")[2] == "/* new */\n"


def test_a_release_of_files_keeps_what_open_pages_ask_for_and_can_be_rolled_back(serving: Operator) -> None:
    docs = source(serving, "docs")
    (docs / "assets/app-3f9ac0d1.js").rename(docs / "assets/app-77aa00bb.js")
    (docs / "style.css").unlink()
    # The balancer itself serves those of `web`, and the application does not.
    assets = source(serving, "web") / "assets"
    assert got(serving, "/static/page-3f9ac0d1.css") == ("200", FOREVER, "/* first */\n")
    (assets / "page-3f9ac0d1.css").unlink()
    (assets / "page-77aa00bb.css").write_text("/* second */\n", encoding="utf-8")
    (docs / "index.html").write_text("second\n", encoding="utf-8")
    serving.inv("deploy")
    assert got(serving, "/docs/")[2] == "second\n"
    assert got(serving, "/docs/assets/app-77aa00bb.js")[:2] == ("200", FOREVER)
    assert got(serving, "/docs/assets/app-3f9ac0d1.js") == ("200", FOREVER, "// first\n")
    assert got(serving, "/docs/style.css")[0] == "404"
    assert got(serving, "/static/page-77aa00bb.css") == ("200", FOREVER, "/* second */\n")
    assert got(serving, "/static/page-3f9ac0d1.css") == ("200", FOREVER, "/* first */\n")
    assert got(serving, "/static/gone.css")[0] == "404"
    serving.inv("rollback", "--service=docs")
    assert "<h1>" in got(serving, "/docs/")[2]
    assert got(serving, "/docs/style.css")[0] == "200"
