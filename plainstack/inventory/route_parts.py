"""The parts of an inventory that say under which names and paths a site is reached: routes and redirects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from plainstack.inventory.header_values import ResponseHeaders
from plainstack.inventory.route_cache import RouteCache
from plainstack.inventory.sections import Model
from plainstack.inventory.service_values import Seconds, Size
from plainstack.inventory.values import Bool, FilePath, Int, Network
from plainstack.inventory.web_values import RedirectPath, RedirectTarget, RoutePath, ServerName


def _not_open(value: Any) -> Any:
    if value in ([], ()):
        raise ValueError("a list of at least one. Without the key, everyone has access")
    return value


NotEmpty = BeforeValidator(_not_open)
UserName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Rate = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}/[sm]$")]


class Limit(Model):
    """How many requests each address may send; further ones get the status 429. `rate`, `connections` or both."""

    rate: Rate | None = Field(None, description="Requests per second or minute, such as `10/s` or `30/m`.")
    burst: Annotated[Int, Field(ge=0, le=100000)] = Field(
        20, description="How many requests beyond `rate` an address may send in a burst."
    )
    connections: Annotated[Int, Field(ge=1, le=16384)] | None = Field(
        None, description="How many requests of an address are in progress at a time, including WebSockets."
    )


class Route(Model):
    """A path of the site, and how the balancers pass on the requests below it."""

    path: RoutePath = Field(
        "/", description="The URL path; requests below it are passed on, by default with the path unchanged."
    )
    strip: Bool = Field(
        False,
        description=(
            "`true` removes `path` from the URL that the application gets, and sends it in the header"
            " X-Forwarded-Prefix."
        ),
    )
    host: ServerName | None = Field(
        None,
        description=(
            "The name, or wildcard such as `*.example.com`, under which the path is served; one of"
            " `balancer.server_names`, or covered by one. Without it, all names for which no other route has this path."
        ),
    )
    timeout: Seconds | None = Field(
        None, description="Seconds that a balancer waits for a response, if not the process's `timeout`."
    )
    max_body: Size | None = Field(None, description="The largest request body, if not the service's `max_body`.")
    buffering: Bool = Field(
        True, description="`false` passes requests and responses on as they arrive; such a request is never repeated."
    )
    limit: Limit | None = Field(None, description="How many requests each address may send.")
    users: Annotated[tuple[UserName, ...], NotEmpty] = Field(
        (),
        description=(
            "The users who may log in by HTTP basic authentication; without it, no login is needed. Their passwords are"
            " the secrets `balancer/users/NAME`."
        ),
    )
    allow: Annotated[tuple[Network, ...], NotEmpty] = Field(
        (), description="The only addresses and networks whose requests are passed on; others get the status 403."
    )
    headers: ResponseHeaders = Field(
        {}, description="Headers of the responses; they replace headers of the application with the same name."
    )
    sticky: Literal["cookie", "address"] | None = Field(
        None,
        description=(
            "Sends all requests of a visitor to the same host: by a cookie that the first response sets, or by the"
            " visitor's address."
        ),
    )
    snippet: FilePath | None = Field(
        None,
        description=(
            "A file in the folder `nginx` beside the inventory, with lines of your own for this route in the"
            " configuration of nginx or Angie."
        ),
    )
    cache: RouteCache | None = Field(
        None, description="Which responses are kept, to answer later requests without the application; by default none."
    )

    @property
    def closed(self) -> bool:
        """Whether only some visitors get an answer from the application."""
        return bool(self.users or self.allow)


class Redirect(Model):
    """A redirect of a name, or of a path."""

    host: ServerName | None = Field(
        None,
        description=(
            "The name or wildcard whose requests are redirected; one of `server_names`, or covered by one. Without it,"
            " all names."
        ),
    )
    path: RedirectPath | None = Field(
        None,
        description=("The page, or with a `/` at its end everything below the path; without it, every page of `host`."),
    )
    to: RedirectTarget = Field(
        description=(
            "A path, or a URL. If it is a URL without a path, the page's own path and query are added. If it and `path`"
            " both end with `/`, what follows `path` is added."
        )
    )
    status: Literal[301, 302, 303, 307, 308] = Field(
        301,
        description=(
            "Browsers remember `301` and `308`; `302`, `303` and `307` are temporary. After `307` and `308`, a POST"
            " stays a POST."
        ),
    )
