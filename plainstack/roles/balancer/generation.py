"""Which configuration the workers of the web server use: the server names a hash of it on its status page."""

from __future__ import annotations

import hashlib

from plainstack.engine.resources import File
from plainstack.inventory import port_numbers as ports
from plainstack.roles.balancer.engines import Engine


def generation(*files: File) -> str:
    """Return a hash that shows whether the workers use the new configuration or the previous one."""
    return hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def health(engine: Engine, wanted: str) -> str:
    """Return the shell command that fails, with the server's own reason, if its workers do not use this configuration.

    A reload that the server refuses succeeds all the same: systemd only sends a signal.
    """
    return f"""\
[ "$(curl -fs -m 2 http://127.0.0.1:{ports.PROXY_STATUS}/generation)" = {wanted} ] || {{
    echo '{engine.name} does not use the new configuration'
    awk -v since="$(date -d '1 minute ago' '+%Y/%m/%d %T')" '$1 " " $2 >= since && $3 == "[emerg]"' \\
        {engine.logs}/error.log | tail -n 3
    exit 1
}}"""
