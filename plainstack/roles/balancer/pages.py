"""Files that balancers serve themselves: the pages for maintenance and failures, and files such as robots.txt."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.render import verbatim
from plainstack.engine.resources import Directory, File, Resource
from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.services.edge import Balancer
from plainstack.wording import Loc, dotted

FOLDER = "/usr/local/share/plainstack"

# The files that balancers serve under a URL of their own.
FILES = f"{FOLDER}/site"
_PAGES = ("unavailable", "maintenance")
# Larger ones belong to a service of the kind static.
_LARGEST = 256 << 10


def pages(stack: Stack) -> Iterator[Resource]:
    """Yield the pages and files. Pages that the inventory does not name are Plainstack's own."""
    balancer = stack.settings(Balancer)
    yield Directory(path=FOLDER)
    for name in _PAGES:
        path, own = f"{FOLDER}/plainstack-{name}.html", getattr(balancer.pages, name)
        yield File(path=path, content=stack.file(own).read_bytes()) if own else verbatim("balancer", path)
    if balancer.files:
        yield Directory(path=FILES)
    for url, own in balancer.files.items():
        yield File(path=_place(url), content=stack.file(own).read_bytes())


def places(stack: Stack) -> dict[str, str]:
    """Return the place of each file on a balancer, by the path of its URL."""
    return {url: _place(url) for url in stack.settings(Balancer).files}


def problems(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the errors as (place, sentence) pairs."""
    balancer = stack.settings(Balancer)
    named = [(("balancer", "pages", name), getattr(balancer.pages, name)) for name in _PAGES]
    for loc, path in [*named, *((("balancer", "files", url), path) for url, path in balancer.files.items())]:
        if path is None:
            continue
        problem = problem_of_path(stack, path)
        if not problem and stack.file(path).stat().st_size > _LARGEST:
            problem = f"{path} is larger than {_LARGEST >> 10} KiB, the limit"
        # Files may be images.
        if not problem and loc[1] == "pages" and not _is_utf8(stack.file(path).read_bytes()):
            problem = f"{path} is not text in UTF-8, which the balancers send it as"
        if problem:
            yield loc, f"{dotted(loc)}: {problem}"
    for url in balancer.files:
        loc = ("balancer", "files", url)
        for number, redirect in enumerate(balancer.redirects):
            if redirect.path == url and redirect.host is None:
                other = dotted(("balancer", "redirects", number))
                yield loc, f"{dotted(loc)}: {other} redirects this path; remove one of the two"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _place(url: str) -> str:
    # A colon is not permitted in such a URL, so no two of them have the same place.
    return f"{FILES}/{url[1:].replace('/', ':')}"
