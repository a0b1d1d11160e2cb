"""A stack's own roles, as modules in the folder roles/ beside its inventory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plainstack.cli import role_list
from plainstack.engine.desired import assemble
from plainstack.engine.role import shape
from plainstack.errors import InventoryError
from plainstack.inventory import load
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from tests.unit.conftest import fake_vault

CACHE = '''"""A cache for the applications."""

from pydantic import Field

from plainstack.engine.resources import File
from plainstack.engine.role import DeclaredSecret, Role
from plainstack.inventory.sections import Model


class Cache(Model):
    """Redis on the cache hosts."""

    port: int = Field(6379, description="The port that it listens on.")
    memory: str = Field(description="How much it keeps.")


def desired(stack, host, vault, network):
    settings = stack.settings(Cache)
    text = f"port {settings.port}\\nmaxmemory {settings.memory}\\nrequirepass "
    text += f"{vault.password('cache/password').reveal()}\\n"
    yield File(path="/etc/redis/redis.conf", content=text.encode(), mode=0o640, secret=True)


ROLE = Role(
    name="cache",
    settings=Cache,
    desired=desired,
    after=("firewall",),
    needs=("app",),
    secrets=(DeclaredSecret("cache/password"),),
)
'''
INVENTORY = """\
stack: shop
hosts:
  app1: {address: 10.0.0.1, roles: [app, cache]}
  db1: {address: 10.0.0.2, roles: [db]}
services:
  web: {source: ., project: site}
database: {name: shop}
cache:
  memory: 64mb
"""

Load = Callable[..., Stack]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Return a function that makes a stack with its own roles: `loaded(text, name=module, ...)`."""

    def made(text: str = INVENTORY, **modules: str) -> Stack:
        folder = tmp_path / f"stack{len(list(tmp_path.iterdir()))}"
        (folder / "roles").mkdir(parents=True)
        for name, content in modules.items():
            (folder / "roles" / f"{name}.py").write_text(content, encoding="utf-8")
        return load.parse(text, "hosts.yaml", folder, shape(registry(folder)))

    return made


def problems(loaded: Load, text: str = INVENTORY, **modules: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        loaded(text, **modules)
    return list(caught.value.problems)


def test_a_stacks_own_role_is_assembled_like_any_other(loaded: Load) -> None:
    stack = loaded(cache=CACHE)
    roles = registry(stack.folder)
    vault = fake_vault(stack, ["cache/password", "web/DJANGO_SECRET_KEY", "web/API_TOKEN", "postgres/app"])
    (file,) = assemble(stack, vault, {"cache": roles["cache"]}, ["app1"])["app1"]["cache"]
    assert file.content == b"port 6379\nmaxmemory 64mb\nrequirepass password-of-cache/password\n"  # type: ignore[attr-defined]  # a File
    assert list(roles).index("firewall") < list(roles).index("cache")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("memory: 64mb", "memry: 64mb", "hosts.yaml:9: cache.memry: unknown key, did you mean 'memory'?"),
        ("memory: 64mb", "port: 80\n", "hosts.yaml:8: cache.memory: is missing"),
        ("memory: 64mb", "memory: [1]", "hosts.yaml:9: cache.memory: must be text"),
        (
            "[app, cache]",
            "[app, cach]",
            "hosts.yaml:3: hosts.app1.roles.1: unknown role 'cach', did you mean 'cache'?",
        ),
        ("cache:\n", "cahce:\n", "hosts.yaml:8: cahce: unknown key, did you mean 'cache'?"),
    ],
)
def test_its_settings_are_checked_like_all_others(loaded: Load, old: str, new: str, problem: str) -> None:
    found = problems(loaded, INVENTORY.replace(old, new), cache=CACHE)
    assert any(each.startswith(problem) for each in found), found


def test_its_hosts_need_the_hosts_of_the_roles_that_it_needs(loaded: Load) -> None:
    text = INVENTORY.replace("[app, cache]", "[cache]")
    assert problems(loaded, text, cache=CACHE) == [
        "hosts.yaml:3: hosts.app1.roles: cache needs a host with the role app, and none has it",
        "hosts.yaml:6: services.web.hosts: no host has the role app; name the hosts that run the service",
    ]


ROLE = "from plainstack.engine.role import Role\n"


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("x = 1\n", "roles/own.py: has no ROLE. A role's module ends with ROLE = Role(name=..., ...)"),
        ("x = 1\ndef broken(:\n", "roles/own.py:2: invalid syntax"),
        ("x = 1\n\nimport nowhere_at_all\n", "roles/own.py:3: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (f"{ROLE}ROLE = Role(nam='own')\n", "roles/own.py:2: TypeError: "),
        (
            f"{ROLE}ROLE = Role(name='db', desired=list)\n",
            "roles/own.py: there is already a role db, from plainstack",
        ),
        (f"{ROLE}ROLE = Role(name='My Role', desired=list)\n", "roles/own.py: a role cannot be called 'My Role'"),
        (f"{ROLE}ROLE = Role(name='all', desired=list)\n", "roles/own.py: a role cannot be called all"),
        (
            f"{ROLE}ROLE = Role(name='own', desired=list, after=('firewal',))\n",
            "roles/own.py: after names the role firewal, which does not exist, did you mean 'firewall'?",
        ),
        (
            f"{ROLE}from plainstack.engine.role import DeclaredSecret\nBAD = DeclaredSecret('a b')\n",
            "roles/own.py:3: ValueError: a secret cannot be called 'a b'",
        ),
        (
            CACHE.replace('name="cache"', 'name="database"'),
            "roles/own.py: the inventory's key database belongs to the role db",
        ),
        (
            CACHE.replace('name="cache"', 'name="services"'),
            "roles/own.py: the inventory's key services is reserved",
        ),
        (
            f"{ROLE}ROLE = Role(name='own', desired=list, after=('own',))\n",
            "roles wait for one another: own -> own",
        ),
    ],
)
def test_a_module_that_is_not_a_role_is_named_with_the_reason(loaded: Load, module: str, problem: str) -> None:
    text = INVENTORY.replace(", cache", "").replace("cache:\n  memory: 64mb\n", "")
    found = problems(loaded, text, own=module)
    assert [each for each in found if each.startswith(problem)], found


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("    settings = stack.setings(Cache)", "AttributeError: 'Stack' object has no attribute 'setings'"),
        ("    settings = {}['memory']", "KeyError: 'memory'"),
        ("    settings = 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failing_role_is_reported_with_its_line(loaded: Load, line: str, problem: str) -> None:
    broken = CACHE.replace("    settings = stack.settings(Cache)", line)
    stack = loaded(cache=broken)
    number = broken.splitlines().index(line) + 1
    with pytest.raises(InventoryError) as caught:
        assemble(stack, fake_vault(stack, ["cache/password"]), {"cache": registry(stack.folder)["cache"]}, ["app1"])
    assert caught.value.problems == (f"roles/cache.py:{number}: {problem}",)


def test_two_modules_with_the_same_name_are_both_named(loaded: Load) -> None:
    assert problems(loaded, one=CACHE, two=CACHE)[0] == "roles/two.py: there is already a role cache, from roles/one.py"


def test_modules_that_start_with_an_underscore_are_helpers(loaded: Load) -> None:
    helped = CACHE.replace('"port that', '"port that').replace(
        "def desired", "from _cache_words import COMMENT\n\n\ndef desired"
    )
    stack = loaded(cache=helped, _cache_words="COMMENT = 'x'\n")
    assert "cache" in registry(stack.folder)


def test_the_list_of_roles_shows_origin_needs_and_settings(loaded: Load) -> None:
    stack = loaded(cache=CACHE)
    found = {row.name: row for row in role_list.rows(stack, registry(stack.folder))}
    cache = found["cache"]
    assert (cache.origin, cache.about, cache.hosts) == ("roles/cache.py", "A cache for the applications.", ("app1",))
    assert cache.needs == ("app",)
    assert [(each.key, each.default) for each in cache.settings] == [
        ("cache.port", "6379"),
        ("cache.memory", "required"),
    ]
    assert found["db"].origin == "plainstack"
    assert found["base"].hosts == ("app1", "db1")
    text = "\n".join(role_list.lines(list(found.values())))
    assert "cache (roles/cache.py)\n  A cache for the applications.\n  hosts: app1\n  needs a host with: app\n" in text
