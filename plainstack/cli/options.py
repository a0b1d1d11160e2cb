"""Options that many tasks have, with what `--help` says of them."""

from __future__ import annotations

SELECT = {
    "inventory": "the inventory file (default: hosts.yaml)",
    "role": "only hosts with these roles, and what these roles need there: ROLE[,ROLE...]",
    "host": "only these hosts: db1[,db2...]",
}
JSON = {"json": "print one JSON document on stdout instead of text"}
