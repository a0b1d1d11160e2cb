"""Running the checks of one pytest session in several threads.

Pytest runs one item after another and keeps the values of fixtures, and what is set up, once per session. Here they are
kept once per lane. A lane is the work of one thread: checks that share a fixture, one after another, or a single check.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from _pytest.runner import SetupState

# These plugins of pytest change the whole process around each item, so they cannot be used by several at once.
_OF_THE_PROCESS = ("runner", "capturemanager")
Phase = tuple[pytest.CallInfo[None], pytest.TestReport]


class _Kept(threading.local):
    """What pytest keeps, for the lane that runs in this thread."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.setup = SetupState()
        self.results: dict[int, Any] = {}
        self.finalizers: dict[int, list[Callable[[], object]]] = {}


class Lanes:
    """A pytest plugin that runs the items of a session; `lane` may be called in many threads at once."""

    def __init__(self, session: pytest.Session, items: Sequence[pytest.Function]) -> None:
        kept = self._kept = _Kept()
        self._plugins = session.config.pluginmanager
        session._setupstate = _OfThisLane(kept)  # type: ignore[assignment]

        def results(self: pytest.FixtureDef[Any]) -> Any:
            return kept.results.get(id(self))

        def set_result(self: pytest.FixtureDef[Any], result: Any) -> None:
            kept.results[id(self)] = result

        def finalizers(self: pytest.FixtureDef[Any]) -> list[Callable[[], object]]:
            return kept.finalizers.setdefault(id(self), [])

        found = {"cached_result": property(results, set_result), "_finalizers": property(finalizers)}
        of_this_lane = type("OfThisLane", (pytest.FixtureDef,), found)
        known = [value for name, value in vars(session._fixturemanager).items() if name.startswith("_arg2")]
        for definition in _definitions([*known, *(item._fixtureinfo.name2fixturedefs for item in items)]):
            definition.__class__ = of_this_lane

    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._kept.setup.setup(item)

    @pytest.hookimpl
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        item.runtest()

    @pytest.hookimpl
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        self._kept.setup.teardown_exact(nextitem)

    def lane(self, items: Sequence[pytest.Item], ended: Callable[[pytest.Item, list[Phase]], None]) -> None:
        """Run these one after another in this thread; `ended` hears of each."""
        self._kept.begin()
        for item, following in zip(items, [*items[1:], None], strict=True):
            ended(item, list(self._phases(item, following)))

    def _phases(self, item: pytest.Item, following: pytest.Item | None) -> Iterator[Phase]:
        passed = True
        for when, options in (("setup", {}), ("call", {}), ("teardown", {"nextitem": following})):
            if when == "call" and not passed:
                continue
            call: pytest.CallInfo[None] = pytest.CallInfo.from_call(self._hook(when, item, options), when)  # type: ignore[arg-type]
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            passed = passed and report.passed
            yield call, report

    def _hook(self, when: str, item: pytest.Item, options: dict[str, Any]) -> Callable[[], None]:
        others = [plugin for name in _OF_THE_PROCESS if (plugin := self._plugins.get_plugin(name))]
        hook = self._plugins.subset_hook_caller(f"pytest_runtest_{when}", others)
        return lambda: hook(item=item, **options)


def _definitions(found: object) -> Iterator[pytest.FixtureDef[Any]]:
    """Every fixture in what pytest keeps of them, however it is nested."""
    if isinstance(found, pytest.FixtureDef):
        yield found
    elif isinstance(found, Mapping | Sequence) and not isinstance(found, str):
        for one in list(found.values() if isinstance(found, Mapping) else found):
            yield from _definitions(one)


class _OfThisLane:
    """Stands for the set-up state of a session: it is the one of the lane that asks."""

    def __init__(self, kept: _Kept) -> None:
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept.setup, name)


def lanes(items: Sequence[pytest.Function]) -> Iterator[list[pytest.Function]]:
    """The items of one host as lanes: those that share a fixture of their own are one, each other one is alone."""
    sharing = [item for item in items if _shares(item)]
    if sharing:
        yield sharing
    yield from ([item] for item in items if item not in sharing)


def _shares(item: pytest.Function) -> bool:
    return any(
        definition.scope != "function" and not definition.func.__module__.startswith(("_pytest.", "plainstack."))
        for name in item.fixturenames
        for definition in item._fixtureinfo.name2fixturedefs.get(name, ())
    )
