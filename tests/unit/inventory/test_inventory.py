"""Bad inventories: how each mistake is reported, before any connection is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack import shipped
from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import File
from plainstack.engine.transaction import script
from plainstack.errors import InventoryError, Refused
from plainstack.inventory import load
from plainstack.inventory.stack import Stack
from tests import inventories

GOOD = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, public: 10.1.0.1, roles: [balancer]}
  app1: {address: 10.0.0.2, roles: [app]}
  db1: {address: 10.0.0.3, roles: [db]}
services:
  web: {source: ., project: site}
database: {name: shop}
"""
SHAPE = inventories.shipped_shape()
HOST_KEYS = "known here: address, public, public6, interface, roles"
ALL_KEYS = (
    "known here: stack, extends, ssh, hosts, services, secrets, notify, lab, base, firewall, cache, database, rolling,"
    " backup, balancer, monitoring"
)
NAME_RULE = "must be lower case letters, digits and '-', begin with a letter, at most 32 characters"
BEFORE_DB, DB, DATABASE = "services:\n", "db1: {address: 10.0.0.3, roles: [db]}", "database: {name: shop}\n"
WEB = "  web: {source: ., project: site}\n"


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "my.yaml", folder)
    return list(caught.value.problems)


def test_the_default_inventory_has_the_eight_hosts_of_the_demo(stack: Stack) -> None:
    assert list(stack.hosts) == ["lb1", "lb2", "app1", "app2", "db1", "db2", "mon1", "bak1"]
    assert [host.name for host in stack.with_role("db")] == ["db1", "db2"]
    assert stack.in_lab


def test_a_service_cannot_have_the_name_of_a_unit_of_plainstack(desired: Mapping[str, HostDesired]) -> None:
    """A service named like the lockout guard's unit would make every deploy wait for the service to end."""
    files = [
        item.path
        for roles in desired.values()
        for role, resources in roles.items()
        for item in resources
        if isinstance(item, File) and role != "app"
    ]
    copied = [str(path) for path in shipped.FILES.rglob("*")]
    own = re.findall(r"\bplainstack-([a-z-]+)\.(?:service|timer)\b", "\n".join([*files, *copied, script.library()]))
    assert {"firewall", "backup-full", "barman-cron", "undo"} <= set(own)
    for name in {*own, "guard", "guard-api"}:
        assert problems(GOOD.replace("  web:", f"  {name}:")) == [
            f"my.yaml:7: services.{name}: a service cannot be called {name}: plainstack-{name} is a unit of"
            " Plainstack's own; choose another name"
        ]
    assert inventories.parse(GOOD.replace("  web:", "  guardian:"), "my.yaml", Path()).services


def test_the_valid_inventory_used_in_these_tests_is_valid() -> None:
    assert inventories.parse(GOOD, "my.yaml", Path()).hosts["db1"].name == "db1"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # keys
        ("hosts:", "hostz:", ["1: hosts: is missing", f"2: hostz: unknown key, did you mean 'hosts'?; {ALL_KEYS}"]),
        ("stack: shop", "stack: shop\nshoe: 1", [f"2: shoe: unknown key; {ALL_KEYS}"]),
        (
            DB,
            "db1: {adress: 10.0.0.3, roles: [db]}",
            [
                "5: hosts.db1.address: is missing",
                f"5: hosts.db1.adress: unknown key, did you mean 'address'?; {HOST_KEYS}",
            ],
        ),
        (DB, "db1: {address: 10.0.0.3, roles: [db], name: x}", [f"5: hosts.db1.name: unknown key; {HOST_KEYS}"]),
        ("stack: shop", "stack: shop\nfolder: /", [f"2: folder: unknown key; {ALL_KEYS}"]),
        (DB, f"{DB}\n  app1: {{address: 10.0.0.9}}", ["6: hosts.app1: given twice, first on line 4"]),
        ("stack: shop", "? [a, b]\n: c\nstack: shop", ["1: top level: a key must be a plain word"]),
        # values
        ("stack: shop", "stack: 5", ["1: stack: must be text (given: 5)"]),
        ("stack: shop", 'stack: "shop\\n"', [f"1: stack: {NAME_RULE} (given: 'shop\\n')"]),
        (DB, "DB1: {address: 10.0.0.3}", [f"5: hosts.DB1: {NAME_RULE} (given: 'DB1')"]),
        (DB, "1: {address: 10.0.0.3}", [f"5: hosts.1: {NAME_RULE} (given: '1')"]),
        (
            DB,
            "db1: 10.0.0.3",
            ["5: hosts.db1: must be a mapping with address, public, public6, interface, roles (given: '10.0.0.3')"],
        ),
        ("10.0.0.3,", "10.0.0.300,", ["5: hosts.db1.address: must be an IPv4 or IPv6 address (given: '10.0.0.300')"]),
        ("10.0.0.3,", "12,", ["5: hosts.db1.address: must be an IPv4 or IPv6 address (given: 12)"]),
        ("[db]", "db", ["5: hosts.db1.roles: must be a list (given: 'db')"]),
        (
            "[db]",
            "[dbb]",
            [
                "5: hosts.db1.roles.0: unknown role 'dbb', did you mean 'db'?;"
                " known roles: cache, db, app, backup, balancer, monitoring, worker"
            ],
        ),
        ("[db]", "[db, db]", ["5: hosts.db1.roles: db is given twice"]),
        (BEFORE_DB, "ssh: {port: '22'}\nservices:\n", ["6: ssh.port: must be a whole number (given: '22')"]),
        (BEFORE_DB, "ssh: {port: 70000}\nservices:\n", ["6: ssh.port: must be at most 65535 (given: 70000)"]),
        (
            BEFORE_DB,
            "ssh: {allow_from: [10.0.0.0/33]}\nservices:\n",
            ["6: ssh.allow_from.0: must be an IPv4 network or an IPv6 network (given: '10.0.0.0/33')"],
        ),
        (
            BEFORE_DB,
            "balancer: {engine: apache}\nservices:\n",
            ["6: balancer.engine: must be nginx or angie (given: 'apache')"],
        ),
        (
            BEFORE_DB,
            "balancer: {tls: selfsigned}\nservices:\n",
            ["6: balancer.tls: must be self-signed or acme or a mapping with certificate, key (given: 'selfsigned')"],
        ),
        (BEFORE_DB, "balancer: {tls: {certificate: a}}\nservices:\n", ["6: balancer.tls.key: is missing"]),
        (
            BEFORE_DB,
            "balancer:\n  tls:\n    certificate: a\n    key: b\n    kay: c\nservices:\n",
            ["10: balancer.tls.kay: unknown key, did you mean 'key'?; known here: certificate, key"],
        ),
        ("{name: shop}", "{name: shop, version: 16}", ["8: database.version: must be 17 (given: 16)"]),
        ("{name: shop}", "{name: shop, synchronous: 1}", ["8: database.synchronous: must be true or false (given: 1)"]),
        # values that conflict with others
        ("10.0.0.3", "10.0.0.2", ["5: hosts.db1.address: 10.0.0.2 is already the address of app1"]),
        ("10.0.0.3", "10.1.0.1", ["5: hosts.db1.address: 10.1.0.1 is already the address of lb1"]),
        (
            BEFORE_DB,
            "balancer: {virtual_address: 10.0.0.1}\nservices:\n",
            ["6: balancer.virtual_address: 10.0.0.1 is the address of lb1"],
        ),
        (
            BEFORE_DB,
            "lab: {visitors: {db1: {address: 10.0.0.50}}}\nservices:\n",
            ["6: lab.visitors.db1: a host of the stack has this name. Choose another"],
        ),
        ("  db1:", "  site:", ["5: hosts.site: a host cannot be called site; the name is reserved"]),
        ("roles: [app]", "roles: []", ["3: hosts.lb1.roles: balancer needs a host with the role app, and none has it"]),
        (DATABASE, "", ["1: database: is missing, but a host has the role db; add: database: {name: NAME}"]),
        (f"services:\n{WEB}", "", ["1: services: is missing, but a host has the role app"]),
        ("source: .", "source: nowhere", ["7: services.web.source: no such folder: nowhere"]),
        (
            WEB,
            f"{WEB}  api: {{source: ., project: api, path: /api/}}\n",
            ["8: services.api.port: 8000 is taken by web"],
        ),
        # not an inventory at all
        ("  db1:", "\tdb1:", ["5: not valid YAML: found character that cannot start any token"]),
        (
            "stack: shop",
            "stack: !odd shop",
            ["1: stack: the tag !odd has no meaning in an inventory; remove it"],
        ),
        ("stack: shop", "stack: 2024-99-99", [f"1: stack: {NAME_RULE} (given: '2024-99-99')"]),
        (
            "shop\n",
            "sh\x00p\n",
            ["1: not valid YAML: contains the control character U+0000"],
        ),
        ("hosts:\n", "hosts: &a\n  x: *a\n", ["2: an alias refers to a value that contains the alias"]),
    ],
)
def test_an_error_is_reported_with_its_line_key_and_reason(old: str, new: str, expected: list[str]) -> None:
    assert old in GOOD
    assert problems(GOOD.replace(old, new, 1)) == [f"my.yaml:{problem}" for problem in expected]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a\n- list\n", "word", "null"])
def test_a_file_that_is_not_a_mapping_is_reported_with_an_example(text: str) -> None:
    assert problems(text) == ["my.yaml:1: an inventory is a mapping that begins with 'stack: NAME'"]


def test_all_errors_are_reported_at_once_in_file_order() -> None:
    text = GOOD.replace("shop\n", "Shop\n", 1).replace("10.0.0.2", "10.0.0.1").replace("name: shop", "nam: shop")
    assert problems(text) == [
        f"my.yaml:1: stack: {NAME_RULE} (given: 'Shop')",
        "my.yaml:4: hosts.app1.address: 10.0.0.1 is already the address of lb1",
        "my.yaml:8: database.name: is missing",
        "my.yaml:8: database.nam: unknown key, did you mean 'name'?; "
        "known here: name, version, synchronous, max_connections, shared_buffers, max_slot_wal_keep_size",
    ]


def test_the_error_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary = tmp_path / "none.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"stack: \xff\xfe\n")
    for path, said in [
        (missing, f"{missing}: no such inventory; name one with --inventory=FILE"),
        (tmp_path, f"{tmp_path}: is a folder; name an inventory file with --inventory=FILE"),
        (binary, f"{binary}:1: is not UTF-8 text; save it in UTF-8"),
    ]:
        with pytest.raises(InventoryError) as caught:
            inventories.load(path)
        assert str(caught.value).startswith(said)


def test_relative_paths_start_from_the_folder_of_the_inventory_and_not_the_current_one(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "my.yaml").write_text(GOOD.replace("source: .", "source: code"), encoding="utf-8")
    stack = inventories.load(tmp_path / "my.yaml")
    assert stack.file(stack.services["web"].source) == tmp_path / "code"
    assert stack.state == tmp_path / ".plainstack" / "shop"


def test_messages_show_paths_without_dots_unless_a_link_gives_the_dots_another_meaning(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "elsewhere/sites").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere/sites")
    for name in ("blog", "elsewhere/blog"):
        (tmp_path / name).mkdir()
    inside = stack.model_copy(update={"folder": tmp_path / "sites"})
    assert inside.file(Path("../blog")) == tmp_path / "blog"
    assert inside.file(Path("../gone")) == tmp_path / "gone"
    behind = stack.model_copy(update={"folder": tmp_path / "link"})
    assert behind.file(Path("../blog")) == tmp_path / "link/../blog"
    assert behind.file(Path("../gone")) == tmp_path / "link/../gone"


@pytest.mark.parametrize(
    ("roles", "hosts", "expected"),
    [
        ("", "", ["lb1", "lb2", "app1", "app2", "db1", "db2", "mon1", "bak1"]),
        ("db", "", ["db1", "db2"]),
        ("db,backup", "", ["db1", "db2", "bak1"]),
        ("", "db2, lb1", ["lb1", "db2"]),
        ("db", "db2,lb1", ["db2"]),
    ],
)
def test_role_and_host_options_limit_a_run(stack: Stack, roles: str, hosts: str, expected: list[str]) -> None:
    assert list(load.select(stack, SHAPE.roles, roles, hosts)[1]) == expected


@pytest.mark.parametrize(
    ("roles", "hosts", "said"),
    [
        (
            "dbs",
            "",
            "unknown role 'dbs', did you mean 'db'?; known: cache, db, app, backup, balancer, monitoring, worker",
        ),
        ("", "db3", "unknown host 'db3', did you mean 'db2'?; known: lb1, lb2, app1, app2, db1, db2, mon1, bak1"),
        ("db", "lb1", "no host matches --role=db --host=lb1"),
    ],
)
def test_an_empty_or_unknown_selection_is_refused(stack: Stack, roles: str, hosts: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        load.select(stack, SHAPE.roles, roles, hosts)
    assert str(caught.value) == said
