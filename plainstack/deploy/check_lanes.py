"""Run the checks of one pytest session in several threads.

Pytest runs one item after another, with one set-up state and one set of fixture values per session. Here, every lane
has its own. A lane is the work of one thread: a single check, or checks that share a fixture and run one after another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import SetupState

# These plugins of pytest change the state of the process around each item, so several threads cannot use them at once.
_OF_THE_PROCESS = ("runner", "capturemanager")
Phase = tuple[pytest.CallInfo[None], pytest.TestReport]


class _Kept(threading.local):
    """The set-up state, fixture values and finalizers of the lane that runs in this thread."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.setup = SetupState()
        self.results: dict[int, Any] = {}
        self.finalizers: dict[int, list[Callable[[], object]]] = {}


class Lanes:
    """A pytest plugin that runs the items of a session; several threads may call `lane` at once."""

    def __init__(self, session: pytest.Session, items: Sequence[pytest.Function]) -> None:
        kept = self._kept = _Kept()
        self._plugins = session.config.pluginmanager
        session._setupstate = _OfThisLane(kept)  # type: ignore[assignment]  # a proxy
        # Pytest makes the parent of all temporary folders when it is first needed. If two threads made one each, pytest
        # could refuse a folder in one of them, because it is not in the other.
        folders: Any = session.config._tmp_path_factory  # type: ignore[attr-defined]  # not public
        folders.getbasetemp = _one_at_a_time(folders.getbasetemp)

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
        """Run these items one after another in this thread; call `ended` with each item and its phases."""
        self._kept.begin()
        for item, following in zip(items, [*items[1:], None], strict=True):
            ended(item, list(self._phases(item, following)))

    def _phases(self, item: pytest.Item, following: pytest.Item | None) -> Iterator[Phase]:
        passed = True
        for when, options in (("setup", {}), ("call", {}), ("teardown", {"nextitem": following})):
            if when == "call" and not passed:
                continue
            hook = self._hook(when, item, options)
            call: pytest.CallInfo[None] = pytest.CallInfo.from_call(hook, when)  # type: ignore[arg-type]  # a literal
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            passed = passed and report.passed
            yield call, report

    def _hook(self, when: str, item: pytest.Item, options: dict[str, Any]) -> Callable[[], None]:
        others = [plugin for name in _OF_THE_PROCESS if (plugin := self._plugins.get_plugin(name))]
        hook = self._plugins.subset_hook_caller(f"pytest_runtest_{when}", others)
        return lambda: hook(item=item, **options)


def _definitions(found: object) -> Iterator[pytest.FixtureDef[Any]]:
    """Yield every fixture definition in nested mappings and sequences."""
    if isinstance(found, pytest.FixtureDef):
        yield found
    elif isinstance(found, Mapping | Sequence) and not isinstance(found, str):
        for one in list(found.values() if isinstance(found, Mapping) else found):
            yield from _definitions(one)


def _one_at_a_time(function: Callable[[], Path]) -> Callable[[], Path]:
    """Return the function so that, while one thread calls it, other threads wait."""
    turn = threading.Lock()

    def in_turn() -> Path:
        with turn:
            return function()

    return in_turn


class _OfThisLane:
    """A proxy in place of the session's set-up state; it refers to the state of the current thread's lane."""

    def __init__(self, kept: _Kept) -> None:
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept.setup, name)


def lanes(items: Sequence[pytest.Function]) -> Iterator[list[pytest.Function]]:
    """Yield the lanes of one host's items.

    All items that use a shared fixture form one lane; every other item is a lane by itself. A shared fixture is one
    that checks define with a wider scope than a function.
    """
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
