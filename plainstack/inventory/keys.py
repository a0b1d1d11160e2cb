"""The keys allowed at each place of an inventory, read from the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from plainstack.inventory.sections import Host, Model
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, did_you_mean

# Fields that are set by the code, never in the file.
HIDDEN = {"folder", "still", "held"}


def unknown(stack: type[Stack], loc: Loc) -> str:
    """Return the error text for a key that the model does not have; `loc` may contain the tags of unions."""
    known = fields_at(stack, loc[:-1])
    for model in _models_at(stack, loc[:-1]):
        if issubclass(model, Model) and (instead := model.replaced.get(str(loc[-1]))):
            return f"was replaced: write {instead}"
    return f"unknown key{did_you_mean(str(loc[-1]), known)}; known here: {', '.join(known)}"


def fields_at(stack: type[Stack], loc: Loc) -> list[str]:
    """Return the keys allowed at a place of the inventory; `loc` may contain the tags of unions."""
    fields: dict[str, None] = {}
    for model in _models_at(stack, loc):
        hidden = {*HIDDEN, "name"} if model in (stack, Host) else set()
        fields |= {field: None for field in model.model_fields if field not in hidden}
    return list(fields)


def _models_at(stack: type[Stack], loc: Loc) -> list[type[BaseModel]]:
    """Return the models that a value at a place may have: several for a union whose tag `loc` does not name."""
    options: list[tuple[str, type[BaseModel]]] = [("", stack)]
    for part in loc:
        tagged = [(tag, model) for tag, model in options if tag == part]
        fields = [model.model_fields[str(part)] for _, model in options if str(part) in model.model_fields]
        if tagged:
            options = tagged
        elif fields:
            options = [option for field in fields for option in _options(field.annotation, field.metadata)]
    return [model for _, model in options]


def _options(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models in an annotation, with their tags."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield next((item.tag for item in metadata if isinstance(item, Tag)), ""), annotation
    elif get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0], get_args(annotation)[1:])
    else:
        for option in get_args(annotation):
            yield from _options(option)


def pattern_at(stack: type[Stack], loc: Loc) -> str:
    """Return the pattern of the text at a place of the inventory; empty if it has none, or one of several."""
    for length in range(1, min(2, len(loc)) + 1):
        fields = [model.model_fields.get(str(loc[-length])) for model in _models_at(stack, loc[:-length])]
        found = {each for field in fields if field is not None for each in _patterns(field.annotation, field.metadata)}
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""


def _patterns(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _patterns(None, item.metadata)
        elif isinstance(pattern := getattr(item, "pattern", None), str):
            yield pattern
    if get_origin(annotation) is Annotated:
        yield from _patterns(get_args(annotation)[0], get_args(annotation)[1:])
    else:
        # The keys of a mapping come first, and the value is what is at a place.
        for option in get_args(annotation)[get_origin(annotation) is dict :]:
            yield from _patterns(option)


def is_path(stack: type[Stack], loc: Loc) -> bool:
    """Return whether the value at a place is a path."""
    fields = [model.model_fields.get(str(loc[-1])) for model in _models_at(stack, loc[:-1])]
    above = [model.model_fields.get(str(loc[-2])) for model in _models_at(stack, loc[:-2])] if len(loc) > 1 else []
    return any(field is not None and _holds_path(field.annotation) for field in fields) or any(
        field is not None and get_origin(field.annotation) is dict and _holds_path(get_args(field.annotation)[1])
        for field in above
    )


def _holds_path(annotation: Any) -> bool:
    if get_origin(annotation) is dict:
        return False
    return annotation is Path or any(_holds_path(option) for option in get_args(annotation))
