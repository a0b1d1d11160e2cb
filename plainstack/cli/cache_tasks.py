"""`inv cache.*`: the responses that the balancers keep."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import name_words
from plainstack.cli.options import JSON, SELECT

_NAME = "cache.purge"


@task(
    iterable=["path"],
    help={
        "path": "a path or URL, with * for all that begins with it; the option's name may be left out",
        "inventory": SELECT["inventory"],
        "service": "only responses of this service",
        "host": "only on these hosts: lb1[,lb2...]",
        "all": "all responses, or all of --service",
        **JSON,
    },
)
def purge(
    _c: Context,
    path: list[str] | None = None,
    inventory: str = "hosts.yaml",
    service: str = "",
    host: str = "",
    all: bool = False,
    json: bool = False,
) -> None:
    """Remove responses from the cache of every balancer, so that the next request gets a new one.

    inv cache.purge /news/                            this page, with every query, under every name
    inv cache.purge '/news/*' /                       all paths that begin with /news/, and the front page
    inv cache.purge https://shop.example/news/?page=2
    inv cache.purge --all --service=web

    inv log shows who purged what.

    Exit code: 0, or 1 if a balancer failed.
    """
    from plainstack.cli import cache_command

    cache_command.purge(inventory, path or [], service, host, everything=all, json=json)


name_words(program, purge, "path", _NAME)
cache = Collection("cache")
cache.add_task(purge, name="purge")
