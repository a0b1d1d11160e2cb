"""A service's health gate: a script that succeeds if the health page reports success, or prints the response."""

from __future__ import annotations

import shlex

from plainstack.engine.resources import HOPELESS
from plainstack.inventory.sections import Host
from plainstack.inventory.services import BinaryService
from plainstack.inventory.stack import Stack
from plainstack.services import site
from plainstack.services.processes import processes

# The last line is the answer; advice, if there is any, is printed above it.
_SCRIPT = """\
answer=$(@CURL@ 2>&1 | head -c 65536 | tr -d '\\000\\r')
status=$(printf '%s\\n' "$answer" | sed -n '1s|^HTTP/[0-9.]* \\([0-9]*\\).*|\\1|p')
if [ -z "$status" ]; then
    printf '%s\\n' "$answer" | tail -n 1
    exit 1
fi
head=$(printf '%s\\n' "$answer" | sed '/^$/q')
header() { printf '%s\\n' "$head" | sed -n "s/^$1: *//Ip" | head -n 1; }
key=@KEY@ name=@NAME@
said=$(printf '%s\\n' "$answer" | sed '1,/^$/d' | sed 's|<style.*</style>||; s|<script.*</script>||' |
    sed '/<style/,/<.style>/d; /<script/,/<.script>/d; s/<[^>]*>/ /g' |
    tr -s '[:space:]' ' ' | sed 's/^ //; s/ $//' | cut -c 1-200)
case $status in
@HEALTHY@)
    release=$(header x-release)
    [ "${release:-@RELEASE@}" != @RELEASE@ ] || exit 0
    said="as release $release, and @RELEASE@ was put in place"
    ;;
3??)
    location=$(header location)
    case $location in
    "https://$name@PAGE@") echo 'the application must believe X-Forwarded-Proto: https (SECURE_PROXY_SSL_HEADER)' ;;
    *) echo "$key: must name a page that answers without a redirect" ;;
    esac
    said="redirect to $location"
    ;;
400) echo "the application must accept $name as its Host (ALLOWED_HOSTS); \\${site.names} in its env are all names" ;;
401 | 403) echo "$key: must name a page that needs no login" ;;
404) echo "$key: the application has no such page; name one that answers 200" ;;
esac
printf '%s\\n' "GET @PAGE@ with Host: $name answered $status: $said"
[ "$status" != 404 ] || exit @MISSING@
exit 1
"""


def script(stack: Stack, host: Host, service: str, process: str, release: str) -> str:
    """Return a shell script that succeeds if a process is healthy on `host`.

    If its response has an X-Release header, the release must be `release`.
    """
    settings = processes(stack, service)[process]
    assert settings.port is not None
    page = settings.check
    assert page is not None
    known_as = site.health_host(stack, service, process)
    request = site.of_service(stack, host, settings.port, page.path, known_as)
    own = f".processes.{process}" if process in stack.services[service].processes else ""
    known = {
        "@CURL@": shlex.join(["curl", "-sS", "--max-time", str(page.timeout), "--include", *request.curl()]),
        "@KEY@": f"services.{service}{own}.health",
        "@NAME@": shlex.quote(known_as),
        "@HEALTHY@": " | ".join(page.statuses),
        "@RELEASE@": release,
        "@PAGE@": page.path,
        # A program may add its pages while it starts. Frameworks of Python know all of them before they answer.
        "@MISSING@": "1" if isinstance(stack.services[service], BinaryService) else str(HOPELESS),
    }
    text = _SCRIPT
    for key, value in known.items():
        text = text.replace(key, value)
    return text
