"""What notifications need of the inventory: their secrets, and errors in the key `notify`."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.role import DeclaredSecret, FromCommand, Given
from plainstack.inventory import references
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted

PREFIX = "notify/"


def declared(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the secrets of the notifications."""
    for name, wanted in stack.notify.secrets.items():
        origin = FromCommand(wanted.command) if wanted.command else Given()
        yield DeclaredSecret(f"{PREFIX}{name}", "at once", origin)


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield errors in the key `notify` as (place, sentence) pairs."""
    notify = stack.notify
    texts: list[tuple[Loc, str]] = [(("notify", "headers", name), text) for name, text in notify.headers.items()]
    if notify.webhook is not None:
        loc: Loc = ("notify", "webhook")
        texts.append((loc, notify.webhook))
        if not notify.webhook.startswith(("https://", "http://", "${")):
            yield loc, f"{dotted(loc)}: must be a URL that begins with https:// or http://"
    elif notify.headers:
        yield ("notify", "headers"), "notify.headers: only notify.webhook uses them; add it or remove them"
    for loc, text in texts:
        for name in references.names(text):
            if name.removeprefix(references.OWN_SECRET) not in notify.secrets or "." not in name:
                known = ", ".join(f"${{{references.OWN_SECRET}{one}}}" for one in notify.secrets) or "none"
                yield loc, f"{dotted(loc)}: ${{{name}}}: only secrets in notify.secrets can be used; known: {known}"
