"""Options that many tasks share, with their help texts."""

from __future__ import annotations

SELECT = {
    "inventory": "the inventory file (default: hosts.yaml)",
    "role": "only hosts with these roles, and there only these roles and those they need: ROLE[,ROLE...]",
    "host": "only these hosts: db1[,db2...]",
}
JSON = {"json": "print one JSON document on stdout instead of text"}
