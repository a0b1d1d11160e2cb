"""The sizes of the engine's hash tables, for more or longer names, paths and headers than its defaults allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.wildcards import key
from plainstack.services import routing
from plainstack.services.processes import served

# The engines' defaults, on processors whose cache lines have 64 bytes.
_BUCKET = 64
# With so few keys, a table without two of them in one bucket is always found.
_FEW = 20
# Keys of a bucket in larger tables.
_TOGETHER = 8


def directives(stack: Stack) -> Iterator[str]:
    """Yield the directives for the block `http` that make tables large enough; none if the defaults are."""
    names = routing.names(stack)
    yield from _table("server_names_hash", [name for name in names if not name.startswith("*.")])
    pages = [one.health_page for one in served(stack)]
    sent = [f"{key(name)}{page}" for name in names for page in pages if any(one.health.host for one in served(stack))]
    yield from _table("map_hash", max(names, sent, key=len), [*names, *sent, *(f"0 {page}" for page in pages)])
    headers = max((list(one.route.headers) for one in routing.locations(stack)), key=len, default=[])
    every = chain.from_iterable(one.route.headers for one in routing.locations(stack))
    yield from _table("proxy_headers_hash", headers, [*every])


def _table(name: str, keys: Sequence[str], longest_of: Sequence[str] = ()) -> Iterator[str]:
    """Yield the size of buckets and the number of buckets of a table with these keys (ngx_hash_init)."""
    longest = max(map(_element, [*keys, *longest_of]), default=0)
    together = 1 if len(keys) <= _FEW else _TOGETHER
    bucket = _power(8 + together * longest)
    if bucket > _BUCKET:
        yield f"{name}_bucket_size {bucket}"
    if len(keys) > _FEW:
        yield f"{name}_max_size {_power(max(2048, 2 * len(keys)))}"


def _element(key: str) -> int:
    """Return the bytes that a key takes: a pointer, the length and the text, aligned to pointers."""
    return 8 + (len(key) + 2 + 7) // 8 * 8


def _power(least: int) -> int:
    return 1 << (least - 1).bit_length()
