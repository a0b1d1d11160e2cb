"""What an inventory may say: the keys of every stack, those that its roles add, and the roles that hosts may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import Field, create_model

from plainstack.inventory.sections import Model
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc

Contradictions = Callable[[Stack], Iterable[tuple[Loc, str]]]


@dataclass(frozen=True)
class Shape:
    """The models behind an inventory.

    `settings` are the models of the keys that roles add; a key whose model has required fields may be left out.
    `roles` are the names that a host's `roles` may hold, `needs` the roles without which the hosts of a role are of no
    use, and `single` those that one host alone can have. `contradictions` name what a valid inventory can still get
    wrong, as (place, sentence) pairs.
    """

    settings: Mapping[str, type[Model]]
    roles: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    single: tuple[str, ...] = ()
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
        """The stack of an inventory's data; raises pydantic's ValidationError."""
        return self.model.model_validate(data, context={"roles": self.roles})
