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
    """Redis on the stash hosts."""

    port: int = Field(6379, description="The port that it listens on.")
    memory: str = Field(description="How much it keeps.")


def desired(stack, host, vault, network):
    settings = stack.settings(Cache)
    text = f"port {settings.port}\\nmaxmemory {settings.memory}\\nrequirepass "
    text += f"{vault.password('stash/password').reveal()}\\n"
    yield File(path="/etc/redis/redis.conf", content=text.encode(), mode=0o640, secret=True)


ROLE = Role(
    name="stash",
    settings=Cache,
    desired=desired,
    after=("firewall",),
    needs=("app",),
    secrets=(DeclaredSecret("stash/password"),),
)
'''
INVENTORY = """\
stack: shop
hosts:
  app1: {address: 10.0.0.1, roles: [app, stash]}
  db1: {address: 10.0.0.2, roles: [db]}
services:
  web: {source: ., project: site}
database: {name: shop}
stash:
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
    stack = loaded(stash=CACHE)
    roles = registry(stack.folder)
    vault = fake_vault(stack, ["stash/password", "web/DJANGO_SECRET_KEY", "web/API_TOKEN", "postgres/app"])
    (file,) = assemble(stack, vault, {"stash": roles["stash"]}, ["app1"])["app1"]["stash"]
    assert file.content == b"port 6379\nmaxmemory 64mb\nrequirepass password-of-stash/password\n"  # type: ignore[attr-defined]  # a File
    assert list(roles).index("firewall") < list(roles).index("stash")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("memory: 64mb", "memry: 64mb", "hosts.yaml:9: stash.memry: unknown key, did you mean 'memory'?"),
        ("memory: 64mb", "port: 80\n", "hosts.yaml:8: stash.memory: is missing"),
        ("memory: 64mb", "memory: [1]", "hosts.yaml:9: stash.memory: must be text"),
        (
            "[app, stash]",
            "[app, stas]",
            "hosts.yaml:3: hosts.app1.roles.1: unknown role 'stas', did you mean 'stash'?",
        ),
        ("stash:\n", "sthas:\n", "hosts.yaml:8: sthas: unknown key, did you mean 'stash'?"),
    ],
)
def test_its_settings_are_checked_like_all_others(loaded: Load, old: str, new: str, problem: str) -> None:
    found = problems(loaded, INVENTORY.replace(old, new), stash=CACHE)
    assert any(each.startswith(problem) for each in found), found


def test_its_hosts_need_the_hosts_of_the_roles_that_it_needs(loaded: Load) -> None:
    text = INVENTORY.replace("[app, stash]", "[stash]")
    assert problems(loaded, text, stash=CACHE) == [
        "hosts.yaml:3: hosts.app1.roles: stash needs a host with the role app, and none has it",
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
            CACHE.replace('name="stash"', 'name="database"'),
            "roles/own.py: the inventory's key database belongs to the role db",
        ),
        (
            CACHE.replace('name="stash"', 'name="services"'),
            "roles/own.py: the inventory's key services is reserved",
        ),
        (
            f"{ROLE}ROLE = Role(name='own', desired=list, after=('own',))\n",
            "roles wait for one another: own -> own",
        ),
    ],
)
def test_a_module_that_is_not_a_role_is_named_with_the_reason(loaded: Load, module: str, problem: str) -> None:
    text = INVENTORY.replace(", stash", "").replace("stash:\n  memory: 64mb\n", "")
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
    stack = loaded(stash=broken)
    number = broken.splitlines().index(line) + 1
    with pytest.raises(InventoryError) as caught:
        assemble(stack, fake_vault(stack, ["stash/password"]), {"stash": registry(stack.folder)["stash"]}, ["app1"])
    assert caught.value.problems == (f"roles/stash.py:{number}: {problem}",)


def test_two_modules_with_the_same_name_are_both_named(loaded: Load) -> None:
    assert problems(loaded, one=CACHE, two=CACHE)[0] == "roles/two.py: there is already a role stash, from roles/one.py"


def test_modules_that_start_with_an_underscore_are_helpers(loaded: Load) -> None:
    helped = CACHE.replace('"port that', '"port that').replace(
        "def desired", "from _stash_words import COMMENT\n\n\ndef desired"
    )
    stack = loaded(stash=helped, _stash_words="COMMENT = 'x'\n")
    assert "stash" in registry(stack.folder)


def test_the_list_of_roles_shows_origin_needs_and_settings(loaded: Load) -> None:
    stack = loaded(stash=CACHE)
    found = {row.name: row for row in role_list.rows(stack, registry(stack.folder))}
    stash = found["stash"]
    assert (stash.origin, stash.about, stash.hosts) == ("roles/stash.py", "A cache for the applications.", ("app1",))
    assert stash.needs == ("app",)
    assert [(each.key, each.default) for each in stash.settings] == [
        ("stash.port", "6379"),
        ("stash.memory", "required"),
    ]
    assert found["db"].origin == "plainstack"
    assert found["base"].hosts == ("app1", "db1")
    text = "\n".join(role_list.lines(list(found.values())))
    assert "stash (roles/stash.py)\n  A cache for the applications.\n  hosts: app1\n  needs a host with: app\n" in text
