"""The shape of an inventory: the keys of every stack, the keys that roles add, and the roles that hosts may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from pydantic import Field, create_model

from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Model
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc

Contradictions = Callable[[Stack], Iterable[tuple[Loc, str]]]


@dataclass(frozen=True)
class Shape:
    """The models behind an inventory.

    `settings` maps each key that a role adds to its model; a key that is left out has the model's defaults, or is None
    if the model has required fields. `roles` are the names allowed in a host's `roles`. `needs` maps a role to the
    roles that it cannot work without, and `single` lists the roles that only one host can have. `contradictions` are
    checks of an otherwise valid inventory; they yield (place, message) pairs. `references` maps each reference that
    services can use to the role that provides it, or to "" if every host has that role.
    """

    settings: Mapping[str, type[Model]]
    roles: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    single: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    contradictions: tuple[Contradictions, ...] = ()

    @cached_property
    def model(self) -> type[Stack]:
        """The model of a whole inventory."""
        keys: dict[str, Any] = {}
        for key, settings in self.settings.items():
            about = (settings.__doc__ or "").partition("\n")[0]
            if any(field.is_required() for field in settings.model_fields.values()):
                keys[key] = (settings | None, Field(None, description=about))
            else:
                keys[key] = (settings, Field(settings(), description=about))
        return create_model("Stack", __base__=Stack, **keys)

    def validate(self, data: Mapping[str, Any]) -> Stack:
        """Build the stack from an inventory's data. Raises pydantic's ValidationError."""
        return self.model.model_validate(data, context={"roles": self.roles})
