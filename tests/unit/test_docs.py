"""The pages for users mention only commands, files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks import namespace

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_in_the_documentation_exists(page: Path) -> None:
    known = {*namespace.task_names}
    for name in re.findall(r"\binv ([a-z][a-z.-]+)\b", page.read_text(encoding="utf-8")):
        assert name.rstrip(".") in known, f"inv {name}"


def test_every_page_is_linked_from_the_readme_or_another_page() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    }
    assert [page.name for page in PAGES[1:] if page not in linked] == []


def test_every_promise_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/guarantees.md").read_text(encoding="utf-8").splitlines() if "/test_" in line]
    assert len(rows) > 15
    for row in rows:
        module = ROOT
        for name in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2]):
            file, _, test = name.partition("::") if ".py" in name else ("", "", name)
            if file:
                module = ROOT / "tests" / file
                assert module.is_file(), file
            if test.startswith("test_"):
                assert f"def {test.removesuffix('…')}" in module.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_quoted_file_is_quoted_exactly(page: Path) -> None:
    for path, block in re.findall(r"<!-- (\S+) -->\n```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        assert block == (ROOT / path).read_text(encoding="utf-8"), path


def test_every_alert_is_explained() -> None:
    files = [*ROOT.glob("templates/*/etc/prometheus/rules/*"), *ROOT.glob("files/*/etc/prometheus/rules/*")]
    alerts = {name for file in files for name in re.findall(r"- alert: (\w+)", file.read_text(encoding="utf-8"))}
    pages = "".join((ROOT / f"docs/{page}.md").read_text(encoding="utf-8") for page in ("alerts", "backups"))
    assert alerts
    assert sorted(name for name in alerts if f"| {name} |" not in pages) == []
