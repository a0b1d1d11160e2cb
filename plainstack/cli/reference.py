"""Generates the inventory reference from the models: docs/inventory.md for people, a JSON Schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plainstack.inventory.keys import HIDDEN
from plainstack.inventory.shape import Shape

Schema = dict[str, Any]

_LIMITS = {"ge": "minimum", "le": "maximum"}
_DROPPED = {"title", *_LIMITS}
# Fields of models that are not keys in an inventory file.
_NOT_WRITTEN = {"Stack": HIDDEN, "Host": {"name"}}
_FORMATS = {
    "ipv4": "IPv4 address",
    "ipv6": "IPv6 address",
    "ipv4network": "IPv4 network",
    "ipv6network": "IPv6 network",
    "path": "path",
}

_HEAD = """\
# The inventory

Every key of hosts.yaml. An unknown key is an error that names its line and the key that was probably meant. Relative
paths are resolved from the folder of the file that contains them.

Editors complete and validate an inventory with the JSON Schema that `inv inventory.schema` prints. Save it beside the
inventory and, for editors that use yaml-language-server, name it in the first line:

    # yaml-language-server: $schema=inventory.schema.json

`extends: base.yaml` inherits everything from another inventory: mappings are merged, lists and other values are
replaced, and `null` removes a key. `inv inventory.show` prints the result, with the file and line that each value comes
from:

    # base.yaml                                 # production.yaml
    ssh: {user: deploy}                         stack: production
    services:                                   extends: base.yaml
      web: {source: shop, project: shop}        services: {web: {workers: 8}}
    database: {name: shop}                      hosts:
                                                  app1: {address: 10.0.0.11, roles: [app]}
"""


def schema(shape: Shape) -> Schema:
    """Return the inventory as JSON Schema (draft 2020-12)."""
    made = shape.model.model_json_schema()
    for name, model in (("Stack", made), *made["$defs"].items()):
        for key in _NOT_WRITTEN.get(name, ()):
            model.get("properties", {}).pop(key, None)
    for name in ("StillServed", "Held", "Pinned", "Stopped"):
        made["$defs"].pop(name, None)
    made["$defs"]["Host"]["properties"]["roles"]["items"]["enum"] = list(shape.roles)
    cleaned: Schema = _clean(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Plainstack inventory", **cleaned}


def _clean(node: Any) -> Any:
    if isinstance(node, list):
        return [_clean(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _clean(value) for key, value in node.items() if key not in _DROPPED or isinstance(value, dict)}
    cleaned |= {_LIMITS[key]: value for key, value in node.items() if key in _LIMITS}
    if cleaned.get("format", "").endswith(("network", "path")):
        # Editors do not know the formats that only pydantic defines.
        del cleaned["format"]
    if cleaned.get("default", ...) is None or isinstance(cleaned.get("default"), dict):
        del cleaned["default"]
    return cleaned


def page(shape: Shape) -> str:
    """Return the text of docs/inventory.md; update it with `python -m plainstack.cli.reference >docs/inventory.md`."""
    made = shape.model.model_json_schema()
    return "\n".join([_HEAD, *_section("", made, made["$defs"])])


def _section(place: str, model: Schema, models: Schema) -> Iterator[str]:
    """Yield the table of a model, followed by those of its nested models."""
    title = f"## {place or 'The keys'}"
    name = model.get("title", "")
    rows = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    nested: list[tuple[str, Schema]] = []
    for key, field in model["properties"].items():
        if key in _NOT_WRITTEN.get(name, ()):
            continue
        rows.append(
            f"| `{key}` | {_value(field, models)} | {_default(key, field, model)} | {_meaning(field, models)} |"
        )
        at = f"{place}.{key}".lstrip(".")
        nested += [(f"{at}{below}", found) for below, found in _models(field, models)]
    about = [model.get("description", "").partition("\n")[0], ""] if place else []
    yield "\n".join([title, "", *about, *rows, ""])
    for at, found in nested:
        yield from _kinds(at, found, models) if "oneOf" in found else _section(at, found, models)


def _kinds(place: str, union: Schema, models: Schema) -> Iterator[str]:
    """Yield the tables of a union of kinds: the keys that all kinds share, then those of each kind."""
    kinds = [models[option["$ref"].rpartition("/")[2]] for option in union["oneOf"]]
    first, *others = [kind["properties"] for kind in kinds]
    shared = {key: field for key, field in first.items() if all(other.get(key) == field for other in others)}
    about = f"The keys that all kinds share; `kind` is {' or '.join(f'`{_kind_of(kind)}`' for kind in kinds)}."
    required = [key for key in shared if all(key in kind.get("required", ()) for kind in kinds)]
    yield from _section(place, {"properties": shared, "description": about, "required": required}, models)
    for kind in kinds:
        own = {key: field for key, field in kind["properties"].items() if key not in shared}
        yield from _section(f"{place}, kind: {_kind_of(kind)}", {**kind, "properties": own}, models)


def _kind_of(model: Schema) -> str:
    return str(model["properties"]["kind"]["const"])


def _models(field: Schema, models: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the models and unions of models that a field holds, as (suffix to the key, model)."""
    if "$ref" in field:
        yield "", models[field["$ref"].rpartition("/")[2]]
    for option in field.get("anyOf", ()):
        yield from _models(option, models)
    if "oneOf" in field:
        yield "", field
    if isinstance(field.get("items"), dict):
        yield from _models(field["items"], models)
    if isinstance(field.get("additionalProperties"), dict):
        yield from ((f".NAME{below}", found) for below, found in _models(field["additionalProperties"], models))


def _value(field: Schema, models: Schema) -> str:
    if "anyOf" in field:
        options = [_value(option, models) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    if "enum" in field or "const" in field:
        return " or ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if field.get("type") == "object" or "$ref" in field:
        return "mapping"
    if field.get("type") == "array":
        return f"list of {_value(field['items'], models)}"
    if field.get("type") == "integer":
        return f"{field['ge']} to {field['le']}" if "ge" in field and "le" in field else "whole number"
    if field.get("type") == "boolean":
        return "`true` or `false`"
    return _FORMATS.get(field.get("format", ""), "text")


def _meaning(field: Schema, models: Schema) -> str:
    # A field without a description of its own gets the description of its model.
    described = field if "description" in field or "$ref" not in field else models[field["$ref"].rpartition("/")[2]]
    return str(described.get("description", "")).replace("|", "\\|")


def _default(key: str, field: Schema, model: Schema) -> str:
    if key in model.get("required", ()):
        return "required"
    default = field.get("default")
    if default is None or isinstance(default, dict) or default == []:
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


if __name__ == "__main__":
    from plainstack.engine.role import shape as shape_of
    from plainstack.roles import registry

    print(page(shape_of(registry())), end="")  # noqa: T201 - it prints the page
