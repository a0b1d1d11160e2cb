"""Plainstack's `dataclass` against the standard library's: the same classes behave alike, and each copy is frozen."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from itertools import product
from typing import Any

import pytest

from plainstack.dataclass import dataclass

OPTIONS = [
    {"frozen": frozen, "slots": slots, "kw_only": kw_only}
    for frozen, slots, kw_only in product((False, True), repeat=3)
]
KINDS: dict[str, Any] = {"standard": dataclasses.dataclass, "ours": dataclass}


def classes(decorator: Any, options: dict[str, bool]) -> tuple[type[Any], type[Any]]:
    """Return a class and one that inherits from it."""

    @decorator(**options)
    class Base:
        """A base class."""

        name: str
        ports: list[int] = field(default_factory=list, compare=False)
        note: str = field(default="", repr=False)

        def __post_init__(self) -> None:
            if self.name == "refused":
                raise ValueError("no such name")

    @decorator(**options)
    class Derived(Base):
        """A class with one more field."""

        self: int = 3

    for made in (Base, Derived):
        made.__qualname__ = made.__name__
    return Base, Derived


def told(deed: Callable[[], object]) -> object:
    """Return what a call returns, or the kind and the words of what it raises."""
    try:
        return deed()
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is compared
        words = str(error).replace("test_dataclass.", "").replace("classes.<locals>.", "")
        return type(error).__name__, words


def behaviour(made: type[Any]) -> list[object]:
    """Return what instances of a class do: when created, printed, compared, hashed, changed and copied."""
    one, same = made(name="a", ports=[1]), made(name="a", ports=[2], note="")
    found = [
        told(lambda: repr(made("a"))),
        told(lambda: repr(made("a", [5], "note"))),
        told(made),
        told(lambda: made("a", nome="b")),
        told(lambda: made(name="refused")),
        repr(one),
        one == same,
        one == made(name="b"),
        one != object(),
        one.__eq__(object()),
        told(lambda: hash(one) == hash(same)),
        told(lambda: hash(one) == hash(made(name="b"))),
        told(lambda: setattr(one, "name", "c")),
        told(lambda: delattr(one, "note")),
        dataclasses.asdict(same),
        repr(dataclasses.replace(same, name="d")),
        [item.name for item in dataclasses.fields(one)],
        made.__match_args__,
        made.__doc__,
        repr(copy.copy(same)),
        copy.deepcopy(same) == same,
    ]
    return [str(item) for item in found]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("which", [0, 1], ids=["base", "derived"])
def test_a_class_behaves_as_the_standard_library_s(options: dict[str, bool], which: int) -> None:
    standard, late = (classes(decorator, options)[which] for decorator in KINDS.values())
    assert behaviour(late) == behaviour(standard)
    # The second time, the methods are compiled.
    assert behaviour(late) == behaviour(standard)


@pytest.mark.parametrize("kind", KINDS)
def test_methods_of_the_class_itself_stay(kind: str) -> None:
    class Plain:
        name: str

        def __init__(self, name: str) -> None:
            object.__setattr__(self, "name", name.upper())

        def __repr__(self) -> str:
            return f"<{self.name}>"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Plain)

        def __hash__(self) -> int:
            return 7

    told_of = KINDS[kind](frozen=True)(Plain)
    assert (repr(told_of("a")), told_of("a") == told_of("b"), hash(told_of("a"))) == ("<A>", True, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_can_be_one(kind: str) -> None:
    class Plain(Exception):
        host: str
        code: int = 1

    failed = KINDS[kind](Plain)
    with pytest.raises(failed) as caught:
        raise failed("db1")
    assert (caught.value.host, caught.value.code) == ("db1", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_without_options_it_needs_no_parentheses(kind: str) -> None:
    class Plain:
        number: int = 0

    count = KINDS[kind](Plain)
    counted = count()
    counted.number += 1
    assert counted == count(1)
    with pytest.raises(TypeError, match="unhashable type"):
        hash(counted)


@dataclass(frozen=True, slots=True)
class Place:
    """A class that pickle can find."""

    host: str
    port: int = 22


def test_a_frozen_instance_with_slots_can_be_pickled_and_stays_frozen() -> None:
    again = pickle.loads(pickle.dumps(Place("db1", 2222)))
    assert again == Place("db1", 2222)
    with pytest.raises(FrozenInstanceError):
        again.port = 1


def test_the_start_compiles_no_methods() -> None:
    compiled = [name for name in ("__init__", "__repr__", "__eq__", "__hash__") if _compiled(vars(Fresh)[name])]
    assert compiled == []
    assert Fresh("db1") == Fresh("db1")
    assert _compiled(vars(Fresh)["__init__"])
    assert _compiled(vars(Fresh)["__eq__"])
    assert not _compiled(vars(Fresh)["__repr__"])


@dataclass(frozen=True)
class Fresh:
    """A class that no other test uses."""

    host: str


def _compiled(method: Any) -> bool:
    """Whether a method is the standard library's, which has no file."""
    return str(inspect.unwrap(method).__code__.co_filename) == "<string>"


@pytest.mark.parametrize("slots", [False, True])
def test_a_frozen_instance_takes_no_other_attribute(slots: bool) -> None:
    base, _ = classes(dataclass, {"frozen": True, "slots": slots})
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'other'"):
        base(name="a").other = 1


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("below", KINDS)
def test_a_class_of_either_kind_can_inherit_from_the_other(below: str, frozen: bool) -> None:
    base, _ = classes(dataclass, {"frozen": frozen})

    class Plain(base):  # type: ignore[misc, valid-type]  # mypy wants a class, and the test makes one
        port: int = 22

    made = KINDS[below](frozen=frozen)(Plain)
    assert made("a", port=1) == made("a", port=1) != made("a")
    with pytest.raises(TypeError, match="cannot inherit"):
        KINDS[below](frozen=not frozen)(Plain)


def test_two_threads_may_create_the_first_instance() -> None:
    from concurrent.futures import ThreadPoolExecutor

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):

            @dataclass(frozen=True)
            class Shared:
                number: int

            with ThreadPoolExecutor(8) as pool:
                assert {made.number for made in pool.map(Shared, range(8))} == set(range(8))
    finally:
        sys.setswitchinterval(before)
