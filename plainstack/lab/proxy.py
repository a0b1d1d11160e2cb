"""apt for the hosts: one caching nginx on this machine, and a relay to it from each lab's namespace."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from plainstack.lab import cgroup, machine
from plainstack.lab.mirror import Mirrors
from plainstack.lab.model import APT_PORT, CACHE, RUN, Lab
from plainstack.ssh import netns
from plainstack.ssh.netns import LabError

_FOLDER = RUN / ".apt"
# A socket in a folder cannot clash with a port of the machine, and only the relays can reach it.
_SOCKET = _FOLDER / "socket"
_CONFIG = _FOLDER / "nginx.conf"
_PID = _FOLDER / "pid"
_GROUP = ".apt"
_RELAY_GROUP = ".relay"


def ensure(lab: Lab, mirrors: Mirrors) -> None:
    """Let the lab reach the mirrors: start nginx and the lab's relay if they are not running."""
    _ensure_nginx(mirrors)
    if not cgroup.alive(cgroup.tree() / lab.name / _RELAY_GROUP):
        _start_relay(lab)


def stop_unused() -> None:
    """Stop nginx once the last lab is gone."""
    tree = cgroup.tree()
    if not tree.exists():
        return
    labs = [group for group in tree.iterdir() if group.is_dir() and not group.name.startswith(".")]
    if not labs:
        cgroup.release()
        for file in (_SOCKET, _CONFIG, _PID, _FOLDER / "error.log"):
            file.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            _FOLDER.rmdir()


def config(mirrors: Mirrors) -> str:
    """Return nginx's configuration: a forward proxy that reaches only the mirrors."""
    servers = "".join(_server(name, upstream) for name, upstream in sorted(mirrors.upstreams.items()))
    return f"""\
user www-data;
worker_processes 2;
pid {_PID};
error_log {_FOLDER}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nodelay on;
    client_body_temp_path {CACHE}/apt/body;
    fastcgi_temp_path {CACHE}/apt/unused;
    uwsgi_temp_path {CACHE}/apt/unused;
    scgi_temp_path {CACHE}/apt/unused;
    proxy_temp_path {CACHE}/apt/temp;
    proxy_cache_path {CACHE}/apt/files levels=1:2 use_temp_path=off
        keys_zone=apt:8m inactive=90d max_size=10g;
    proxy_cache apt;
    proxy_cache_key $host$uri;
    proxy_cache_lock on;
    proxy_cache_lock_age 10m;
    proxy_cache_lock_timeout 10m;
    proxy_cache_revalidate on;
    proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504;
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;
    proxy_http_version 1.1;
    proxy_ssl_server_name on;
    server {{
        listen unix:{_SOCKET} default_server;
        return 403 "the lab's proxy leads to Debian's mirrors only\\n";
    }}
{servers}}}
"""


def _server(name: str, upstream: str) -> str:
    host = upstream.partition("://")[2]
    return f"""\
    server {{
        listen unix:{_SOCKET};
        server_name {name};
        location / {{
            proxy_pass {upstream};
            proxy_set_header Host {host};
            proxy_set_header Connection "";
            proxy_cache_valid 200 1m;
        }}
        location ~ \\.deb$ {{
            proxy_pass {upstream};
            proxy_set_header Host {host};
            proxy_set_header Connection "";
            proxy_cache_valid 200 90d;
        }}
    }}
"""


def _ensure_nginx(mirrors: Mirrors) -> None:
    wanted = config(mirrors)
    if _CONFIG.exists() and _CONFIG.read_text() == wanted and _serves():
        return
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (CACHE / "apt").mkdir(parents=True, exist_ok=True)
    group = cgroup.make(_GROUP)
    _SOCKET.unlink(missing_ok=True)
    _CONFIG.write_text(wanted)
    done = subprocess.run(
        cgroup.joined(group, ["nginx", "-e", "stderr", "-c", str(_CONFIG)]),
        env={"PATH": machine.PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"the apt proxy did not start: {done.stderr.strip()}")


def _serves() -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(_SOCKET))
        except OSError:
            return False
    return True


def _start_relay(lab: Lab) -> None:
    def listen() -> socket.socket:
        family = socket.AF_INET if lab.private.version == 4 else socket.AF_INET6
        return socket.create_server((str(lab.private.ip), APT_PORT), family=family, backlog=128)

    script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$1" 3<&0 </dev/null'
    group = cgroup.make(lab.name, _RELAY_GROUP)
    with netns.inside(lab.namespace, listen) as sock:
        subprocess.run(
            cgroup.detached(group, ["sh", "-c", script, str(machine.RELAY), str(_SOCKET)]),
            stdin=sock.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
