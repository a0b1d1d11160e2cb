"""Malformed inventory texts take little time and memory, and raise only InventoryError."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import InventoryError
from plainstack.inventory import load, yaml_limits
from plainstack.shipped import ROOT
from tests import inventories
from tests.unit.inventory.test_inventory import GOOD, NAME_RULE, problems

DEFAULT = (ROOT / "hosts.yaml").read_text(encoding="utf-8")


def bomb(levels: int = 10) -> str:
    lines = ["stack: shop", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join([*lines, "hosts: {db1: {address: 10.0.0.1}}", ""])


def merge_bomb(levels: int = 10) -> str:
    lines = ["stack: shop", "a0: &a0 {x: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}")
    return "\n".join([*lines, ""])


def many_hosts(count: int) -> str:
    hosts = "".join(
        f"  h{number}: {{address: 10.{number >> 16}.{number >> 8 & 255}.{number & 255}}}\n" for number in range(count)
    )
    return f"stack: shop\nhosts:\n{hosts}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(), "6: has more than 50,000 keys and values with its aliases expanded, the limit"),
        (merge_bomb(), "7: has more than 50,000 keys and values with its aliases expanded, the limit"),
        (many_hosts(200_000), "1: has more than 1,000,000 characters, the limit for an inventory"),
        (many_hosts(20_000), "3: has more than 50,000 keys and values with its aliases expanded, the limit"),
        ("stack: " + "x" * 10_000_000, "1: has more than 1,000,000 characters, the limit for an inventory"),
        ("stack: shop\nhosts: " + "[" * 900_000, "2: not valid YAML: exceeded maximum nesting depth"),
        ("stack: shop\nhosts:\n" + "- " * 300_000, "3: nested deeper than 20 levels"),
        ("stack: shop\n" + "? " * 300_000, "2: nested deeper than 20 levels"),
        ("stack: shop\nhosts: &a\n  db1: {<<: *a}\n", "2: an alias refers to a value that contains the alias"),
        ("stack: shop\nhosts: *gone\n", "2: not valid YAML: found undefined alias"),
        (f"{GOOD}---\n{GOOD}", "9: a second YAML document begins here; an inventory is one document"),
        ("stack: shop\nhosts: {a: b\n", "3: not valid YAML: did not find expected ',' or '}'"),
        ("stack: shop\n\x07", "2: not valid YAML: contains the control character U+0007"),
        ("stack: shop\n\ud800", "2: not valid YAML: contains the control character U+D800"),
    ],
    ids=lambda value: value[:30] if value[0].isdigit() else "text",
)
def test_text_beyond_a_limit_is_refused_with_its_line(text: str, said: str) -> None:
    assert problems(text) == [f"my.yaml:{said}"]


@pytest.mark.programs
def test_the_largest_accepted_text_costs_little_memory_and_time(tmp_path: Path) -> None:
    """The kernel limits the time and memory of the process; without Plainstack's own limits, it would be killed."""
    for number, text in enumerate([bomb(), bomb(18), merge_bomb(), many_hosts(200_000), many_hosts(4_000)]):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests import inventories\n"
        "from plainstack.errors import InventoryError\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        inventories.load(path)\n"
        "    except InventoryError as error:\n        assert len(str(error)) < 5000\n"
    )

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=bounded,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


NAME, PORT, SOURCE = "{name: shop}", "project: site", "source: ."
SQL_RULE = "must be lower case letters, digits and '_', begin with a letter, at most 31 characters"
NO_TAG = "has no meaning in an inventory; remove it"
PATH_RULE = "must be a path: at most 2048 bytes long, and 255 between two slashes"
DB1 = GOOD[GOOD.index("  db1") : GOOD.index("services")]
TWO = "  db1: &db {address: 10.0.0.3, roles: [db]}\n  db2:\n    <<: *db\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # plain words that YAML reads as other types
        (
            NAME,
            "{name: yes}",
            "8: database.name: must be text (given: yes, which YAML reads as true; in quotes it is text)",
        ),
        (NAME, "{name: ~}", "8: database.name: must be text (given: ~, which is null in YAML)"),
        (NAME, "{name: }", "8: database.name: must be text (given: nothing)"),
        (NAME, "{name: 2024-02-30}", f"8: database.name: {SQL_RULE} (given: '2024-02-30')"),
        (NAME, "{name: !!python/name:os []}", f"8: database.name: the tag !!python/name:os {NO_TAG}"),
        (NAME, "{name: !!binary c2hvcA==}", f"8: database.name: the tag !!binary {NO_TAG}"),
        (NAME, "{name: !!int shop}", "8: database.name: is not a number that can be used here: shop"),
        (NAME, "!!set {name, shop}", f"8: database: the tag !!set {NO_TAG}"),
        (PORT, f"{PORT}, port: 22:22", "7: services.web.port: YAML reads 22:22 as the number 1342; write 1342,"),
        (PORT, f"{PORT}, port: 0644", "7: services.web.port: YAML reads 0644 as the number 420; write 420,"),
        (PORT, f"{PORT}, port: {'9' * 5000}", "7: services.web.port: is a number of 5000 digits; put it in quotes"),
        (PORT, f"{PORT}, port: 80.5", "7: services.web.port: must be a whole number (given: 80.5)"),
        (PORT, f"{PORT}, port: .inf", "7: services.web.port: is not a number that can be used here: .inf"),
        (
            PORT,
            f"{PORT}, port: on",
            "7: services.web.port: must be a whole number (given: on, which YAML reads as true",
        ),
        (PORT, f'{PORT}, health: "/a\\0b"', "7: services.web.health: contains a control character"),
        (SOURCE, f"source: {'x' * 5000}", f"7: services.web.source: {PATH_RULE} (given: '{'x' * 80}'... (5,000 char"),
        (SOURCE, f"source: {'x/' * 999}", f"7: services.web.source: no such folder: {'x/' * 40}... (1,997 characters)"),
        # other values in place of a mapping
        ("database: {name: shop}", "database: ~", "1: database: is missing, but a host has the role db; add:"),
        ("hosts:\n", "hosts: ~\nlab:\n", "2: hosts: must be a mapping (given: ~, which is null in YAML)"),
        ("hosts:\n", "hosts: [a]\nlab:\n", "2: hosts: must be a mapping (given: ['a'])"),
        # keys
        ("  db1:", "  yes:", ""),
        ("  db1:", "  ~:", f"5: hosts.~: {NAME_RULE} (given: '~')"),
        ("  db1:", '  "a\\nb":', f"5: hosts.'a\\nb': {NAME_RULE} (given: 'a\\nb')"),
        ("  db1:", f"  {'d' * 900}:", f"5: hosts.{'d' * 80}... (900 characters): {NAME_RULE} (given: '{'d' * 80}'..."),
        ("  db1:", "  ? {a: b}\n  :", "5: hosts: a key must be a plain word"),
        # merge keys
        (DB1, f"{TWO}    address: 10.0.0.4\n", ""),
        (
            DB1,
            f"{TWO}    address: 10.0.0.4\n    adress: 1\n",
            "9: hosts.db2.adress: unknown key, did you mean 'address'?",
        ),
        (DB1, TWO, "5: hosts.db2.address: 10.0.0.3 is already the address of db1"),
        (DB1, f"{TWO}    <<: 5\n", "8: hosts.db2: '<<' takes a mapping, or a list of mappings"),
    ],
    ids=lambda value: value[:40],
)
def test_a_value_that_yaml_reads_differently_is_reported_with_its_line(old: str, new: str, said: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    if not said:
        assert inventories.parse(text, "my.yaml", Path()).hosts
        return
    assert problems(text)[0].startswith(f"my.yaml:{said}")


@pytest.mark.parametrize("text", [f"\ufeff{GOOD}", GOOD.replace("\n", "\r\n"), f"---\n{GOOD}...\n"])
def test_byte_order_marks_and_foreign_line_ends_make_no_difference(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_bytes(text.encode())
    assert inventories.load(path).hosts == inventories.parse(GOOD, "hosts.yaml", tmp_path).hosts


def test_a_file_full_of_errors_is_reported_in_a_few_lines() -> None:
    found = problems(GOOD + "".join(f"x{number}: 1\n" for number in range(5000)))
    assert len(found) == load.MOST_PROBLEMS + 1
    assert found[-1] == "my.yaml:49: and 4960 more problems from here"


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Messages shorten a long path.
    monkeypatch.chdir(tmp_path)
    fifo, loop, secret = Path("fifo"), Path("loop"), Path("secret")
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    secret.write_bytes(b"x" * (4 * yaml_limits.MAX_BYTES + 1))
    for path, said in [
        (fifo, "fifo: is no regular file; name an inventory file with --inventory=FILE"),
        (Path("/dev/zero"), "/dev/zero: is no regular file; name an inventory file with --inventory=FILE"),
        (Path(), ".: is a folder; name an inventory file with --inventory=FILE"),
        (loop, "loop: cannot be read: Too many levels of symbolic links"),
        (Path("x" * 5000), "characters): cannot be read: File name too long"),
        (secret, "secret:1: has more than 1,000,000 characters, the limit"),
    ]:
        with pytest.raises(InventoryError) as caught:
            inventories.load(path)
        assert str(caught.value).endswith(said)
        assert len(str(caught.value)) < 500


_ODD = """\
~ null yes off 22:22 0644 0x1F 1e3 .inf -0 1_000 2024-01-01 2024-99-99 = << * & !x !!python/name:os % '' "\\0" [] {}
[[]] {a:} &a *a 5 127.0.0.1
"""
_LONG = ("x" * 3000, "9" * 400, "|\n  x", "&a x", "{a: }", "")
_SCALARS = st.sampled_from([*_ODD.split(), *_LONG]) | st.text(max_size=20)


@given(data=st.data())
def test_a_mutated_inventory_either_loads_or_gives_a_bounded_error_with_file_and_line(
    data: st.DataObject,
) -> None:
    text = data.draw(st.sampled_from([GOOD, DEFAULT]))
    for _ in range(data.draw(st.integers(1, 4))):
        words = [match.span() for match in re.finditer(r"[A-Za-z0-9_./-]+|[:{}\[\],\n]", text)]
        if not words:
            break
        begin, end = data.draw(st.sampled_from(words))
        text = text[:begin] + data.draw(_SCALARS) + text[end:]
    check_said(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates() | st.binary(max_size=4),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_any_value_in_any_place_is_accepted_or_refused_with_a_message(data: st.DataObject) -> None:
    tree = yaml.safe_load(data.draw(st.sampled_from([GOOD, DEFAULT])))
    where = tree
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [value for value in where.values() if isinstance(value, dict) and value]
        if inner:
            where = data.draw(st.sampled_from(inner))
    where[data.draw(st.sampled_from(list(where)))] = data.draw(_VALUES)
    check_said(yaml.safe_dump(tree))


def check_said(text: str) -> None:
    try:
        inventories.parse(text, "my.yaml", ROOT)
    except InventoryError as error:
        said = str(error)
        assert said
        assert len(said) < 12_000
        for problem in said.splitlines():
            assert re.match(r"my\.yaml:[0-9]+: .", problem), problem
            assert int(problem.split(":")[1]) <= len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
            assert len(problem) < 1000
