"""A `dataclass` that compiles each method of a class when it is first called, so that commands start sooner.

The standard library compiles about six functions for each class as soon as it is defined, which takes half a
millisecond. A command imports about two hundred such classes, most of which it never compares, prints or even creates.
Everything else is the standard library's: `fields`, `replace` and `asdict` work as usual, and type checkers see its
`dataclass`. A class that inherits from another dataclass is left to the standard library. For `order`, `unsafe_hash`
and `weakref_slot`, use the standard one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass

    __all__ = ["dataclass"]
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False):
        """Return a class as `dataclasses.dataclass` does; the options have the same meaning."""

        def decorate(cls):
            if any(map(dataclasses.is_dataclass, cls.__bases__)):
                return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)(cls)
            own = set(vars(cls))
            cls.__doc__ = cls.__doc__ or cls.__name__
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
            _add_methods(made, own, frozen=frozen, slots=slots)
            # A class that inherits from this one must be frozen if this one is, and the standard library asks here.
            made.__dataclass_params__.frozen = frozen
            return made

        return decorate if cls is None else decorate(cls)


def _add_methods(made: Any, own: set[str], *, frozen: bool, slots: bool) -> None:
    """Add the methods that the class does not define itself; `own` are the names that it does."""
    hashed = "__hash__" in own and not (vars(made)["__hash__"] is None and "__eq__" in own)
    for name in ("__init__", "__repr__", "__eq__"):
        if name not in own:
            setattr(made, name, _late(made, name, frozen=frozen))
    if not hashed:
        made.__hash__ = _late(made, "__hash__", frozen=True) if frozen else None
    if frozen:
        for name, method in _refusing(made).items():
            if name in own:
                raise TypeError(f"Cannot overwrite attribute {name} in class {made.__name__}")
            setattr(made, name, method)
    if frozen and slots:
        # By default, both would set the attributes one by one, which a frozen instance refuses.
        for name, pickles in (("__getstate__", _state), ("__setstate__", _set_state)):
            if name not in own:
                setattr(made, name, pickles)


def _late(made: type, name: str, *, frozen: bool) -> Callable[..., Any]:
    """Return a method that replaces itself with the standard library's when it is first called."""

    def method(self: Any, *given: Any, **named: Any) -> Any:
        compiled = _compiled(made, name, frozen=frozen)
        setattr(made, name, compiled)
        return compiled(self, *given, **named)

    return method


def _compiled(made: type, name: str, *, frozen: bool) -> Callable[..., Any]:
    """Return a method as the standard library compiles it, taken from another class that has the same fields."""
    fields = dataclasses.fields(made)
    # Without a docstring, the standard library would compute one from the signature.
    namespace = {"__doc__": made.__doc__, **({"__post_init__": None} if hasattr(made, "__post_init__") else {})}
    other = dataclasses.make_dataclass(
        made.__name__,
        [(field.name, field.type, field) for field in fields],
        namespace=namespace,
        frozen=frozen,
        init=name == "__init__",
        repr=name == "__repr__",
        eq=name in ("__eq__", "__hash__"),
    )
    method: Callable[..., Any] = vars(other)[name]
    return method


def _refusing(made: Any) -> dict[str, Callable[..., None]]:
    names = frozenset(field.name for field in dataclasses.fields(made))

    def set_attribute(self: Any, name: str, value: object) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    return {"__setattr__": set_attribute, "__delattr__": delete_attribute}


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
