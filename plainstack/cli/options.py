"""Options that many tasks share, with their help texts."""

from __future__ import annotations

SELECT = {
    "inventory": "the inventory file (default: hosts.yaml)",
    "role": "only these roles and the roles they need, on the hosts that have these roles: ROLE[,ROLE...]",
    "host": "only these hosts: db1[,db2...]",
}
NOTIFY = {"no-notify": "send no notification; see the key notify of the inventory"}
JSON = {"json": "print one JSON document on stdout instead of text"}
OUTAGE = {"accept-outage": "change a host even if no other host of its service is in use and requests fail"}
AGAIN = {"again": "use the sources of the services even if their content was rolled back; see inv rollback"}
BUILD = {"no-build": "use the sources of services as they are: do not run their `build.local`"}
