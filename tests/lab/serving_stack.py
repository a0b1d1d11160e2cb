"""The stack of the tests of what visitors get: one balancer and two hosts with four services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ADDRESS, NAME = "192.168.67.16", "shop.example"


def inventory(sources: Path) -> dict[str, Any]:
    """Return the inventory: Gunicorn serves `web`, uvicorn `api`, and nginx the files of the others."""
    command = "uvicorn api:app --host ${host.address} --port ${port} --timeout-keep-alive 60"
    database = {"DB_HOSTS": "hosts", "DB_NAME": "name", "DB_USER": "user", "DB_PASSWORD": "password", "DB_CA": "ca"}
    return {
        "stack": "serving",
        "ssh": {"user": "root", "gateway": "lab"},
        "hosts": {
            "lb1": {"address": "192.168.66.16", "public": ADDRESS, "roles": ["balancer", "db"]},
            "app1": {"address": "192.168.66.14", "roles": ["app"]},
            "app2": {"address": "192.168.66.15", "roles": ["app"]},
        },
        "balancer": {
            "server_names": [NAME, f"www.{NAME}", f"in.{NAME}"],
            "redirects": [{"host": f"www.{NAME}", "to": f"https://{NAME}"}],
        },
        "services": {
            "web": {
                "source": str(sources / "site"),
                "project": "shop",
                "env": {
                    "ALLOWED_HOSTS": "${site.names}",
                    **{variable: f"${{database.{key}}}" for variable, key in database.items()},
                },
                "secrets": {"SECRET_KEY": {"generate": 50}},
                "writable": ["media"],
                "routes": [
                    "/",
                    {"host": f"in.{NAME}", "users": ["jane"], "headers": {"X-Robots-Tag": "noindex"}},
                    {"host": f"in.{NAME}", "path": "/few/", "limit": {"rate": "1/m", "burst": 1}},
                ],
            },
            "api": {
                "kind": "python",
                "source": str(sources / "api"),
                "path": "/api/",
                "writable": ["media"],
                "processes": {
                    "web": {
                        "command": command,
                        "port": 8010,
                        "health": {"path": "/up", "status": [218], "host": "inner.example", "interval": 1},
                    }
                },
            },
            "docs": {
                "kind": "static",
                "source": str(sources / "docs"),
                "routes": ["/docs/", {"host": f"in.{NAME}", "path": "/docs/", "cache": {"ttl": "10m"}}],
            },
            "front": {
                "kind": "static",
                "source": str(sources / "front"),
                "routes": [{"host": f"in.{NAME}", "path": "/app/"}],
                "port": 8083,
                "spa": True,
            },
        },
        "database": {"name": "shop"},
    }
