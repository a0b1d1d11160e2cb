"""Which of several routes and redirects answers: a real nginx and a simple model agree on all small combinations."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import yaml

from plainstack.services import site
from plainstack.services.processes import served
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

pytestmark = pytest.mark.programs


@dataclass(frozen=True)
class Rule:
    """A route of the service `to`, or a redirect to the URL `to`; without a path, of a whole name."""

    host: str
    path: str
    to: str

    @property
    def redirects(self) -> bool:
        return self.to.startswith("https:")

    def matches(self, path: str) -> bool:
        return path == self.path or (self.path.endswith("/") and path.startswith(self.path))


def nearest(rules: list[Rule], name: str) -> list[Rule]:
    """Return the rules that apply under a name: those of the name, then those of the wildcard, then the others."""
    wildcard = f"*.{name.partition('.')[2]}"
    return [rule for host in (name, wildcard, "") for rule in rules if rule.host == host]


def answer(rules: list[Rule], name: str, path: str) -> str:
    """Return the service or the URL that a request gets: the longest path wins, and then the most specific name.

    A redirect of a whole name hides what is less specific. What is more specific is an exception from it, or with the
    path `/`, replaces it.
    """
    found = nearest(rules, name)
    whole = next((number for number, rule in enumerate(found) if not rule.path), None)
    if whole is not None:
        before, rest = found[:whole], found[whole + 1 :]
        replaced = any(rule.path == "/" for rule in before)
        found = [*before, *rest] if replaced else [*before, Rule("", "/", found[whole].to)]
    matching = [rule for rule in found if rule.matches(path)]
    return max(matching, key=lambda rule: len(rule.path)).to if matching else "404"


Choice = str | tuple[str, ...]
# What a name can have at `/` and at `/a/`: nothing, a route, or a redirect. "whole" redirects all of it. A name that is
# only listed has nothing, either.
CHOICES: list[Choice] = ["whole", *product(("", "route", "redirect"), repeat=2)]
PATHS = ["/", "/b", "/a/", "/a/b", "/p", "/p/b"]


def rules_of(host: str, service: str, choice: Choice) -> Iterator[Rule]:
    """Yield the rules of a name. A redirect of `/a/` comes with one of the page `/p`."""
    target = f"https://{service}.to.example/{host.replace('*', 'any')}"
    if choice == "whole":
        yield Rule(host, "", f"{target}/whole")
    if isinstance(choice, str):
        return
    for path, kind in zip(("/", "/a/"), choice, strict=True):
        if kind:
            yield Rule(host, path, service if kind == "route" else f"{target}{path}here")
    if choice[1] == "redirect":
        yield Rule(host, "/p", f"{target}/p")


def combinations(everywhere: str) -> tuple[list[str], list[Rule]]:
    """Return names and rules: a domain for each pair of choices, one for a name in it and one for its wildcard."""
    names, rules = ["shop.example"], [*rules_of("", "web", ("route", everywhere))]
    for number, (own, wild) in enumerate(product([*CHOICES, "listed"], CHOICES)):
        domain = f"d{number}.example"
        names += [f"*.{domain}", *([f"x.{domain}"] if own == "listed" else [])]
        rules += [*rules_of(f"x.{domain}", "own", own), *rules_of(f"*.{domain}", "wild", wild)]
    return names, rules


def inventory(names: list[str], rules: list[Rule]) -> str:
    def written(rule: Rule) -> Mapping[str, str]:
        return {"host": rule.host, "path": rule.path}

    def present(keys: Mapping[str, str]) -> Mapping[str, str]:
        return {key: value for key, value in keys.items() if value}

    services = {
        service: {
            "kind": "binary",
            "source": ".",
            "routes": [present(written(rule)) for rule in rules if rule.to == service],
            "processes": {"web": {"command": "run", "port": 8000 + number, "health": f"/{service}up"}},
        }
        for number, service in enumerate(("web", "own", "wild"))
    }
    hosts = {
        "lb1": {"address": "10.0.0.1", "roles": ["balancer"]},
        "app1": {"address": "10.0.0.3", "roles": ["app"]},
    }
    redirects = [present({**written(rule), "to": rule.to}) for rule in rules if rule.redirects]
    balancer = {"server_names": names, "redirects": redirects}
    return yaml.safe_dump({"stack": "shop", "hosts": hosts, "balancer": balancer, "services": services})


class Client(http.client.HTTPConnection):
    """A visitor who uses a connection again, also for other names."""

    def __init__(self, edge: Edge) -> None:
        super().__init__("127.0.0.1", edge.port)

    def connect(self) -> None:
        super().connect()
        self.sock = ssl._create_unverified_context().wrap_socket(self.sock, server_hostname="shop.example")

    def get(self, name: str, path: str) -> str:
        """Return the service or the URL that a request gets."""
        self.request("GET", path, headers={"Host": name})
        response = self.getresponse()
        response.read()
        found = response.headers["Location"] or response.headers["X-Service"]
        return found if response.status in (200, 301) and found else str(response.status)


@pytest.mark.parametrize("everywhere", ["route", "redirect"])
def test_the_longest_path_wins_and_then_the_most_specific_name(tmp_path: Path, everywhere: str) -> None:
    names, rules = combinations(everywhere)
    stack = inventories.parse(inventory(names, rules), "hosts.yaml", Path.cwd())
    with running(stack, tmp_path / "edge") as edge:
        client = Client(edge)
        wrong = {
            f"https://{host}{path}": (seen, wanted)
            for name in names
            for host in ([name.replace("*", label) for label in ("x", "y")] if name.startswith("*") else [name])
            for path in PATHS
            if (seen := client.get(host, path)) != (wanted := answer(rules, host, path))
        }
        asked = {one.name: client.get(site.known_as(stack, one), one.health_page) for one in served(stack)}
        deep = {client.get(name.replace("*", "x.y"), "/") for name in names if name.startswith("*")}
    assert wrong == {}
    assert asked == {one: one for one in asked}
    assert deep == {"421"}
