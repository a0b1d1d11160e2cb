"""The keys allowed at each place of an inventory, read from the models."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc

# Fields that are set by the code, never in the file.
HIDDEN = {"folder", "still"}


def unknown(stack: type[Stack], loc: Loc) -> str:
    """What an error says about a key that the model does not have."""
    known = fields_at(stack, loc[:-1])
    return f"unknown key{did_you_mean(str(loc[-1]), known)}; known here: {', '.join(known)}"


def did_you_mean(word: str, known: list[str]) -> str:
    """A suggestion to append to a message: the known word closest to `word`, or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def fields_at(stack: type[Stack], loc: Loc) -> list[str]:
    """The keys allowed at a place of the inventory."""
    model = _model_at(stack, loc)
    hidden = {*HIDDEN, "name"} if model in (stack, Host) else set()
    return [field for field in model.model_fields if field not in hidden] if hasattr(model, "model_fields") else []


def _model_at(stack: type[Stack], loc: Loc) -> Any:
    model: Any = stack
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            if field is None:
                continue
            model = field.annotation
        for option in (model, *get_args(model)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                model = option
    return model


def is_path(stack: type[Stack], loc: Loc) -> bool:
    """Whether the value at a place is a path."""
    fields: dict[str, FieldInfo] = getattr(_model_at(stack, loc[:-1]), "model_fields", {})
    field = fields.get(str(loc[-1]))
    return field is not None and _holds_path(field.annotation)


def _holds_path(annotation: Any) -> bool:
    return annotation is Path or any(_holds_path(option) for option in get_args(annotation))
