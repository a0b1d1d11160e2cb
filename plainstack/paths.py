"""Paths on hosts that more than one package uses: one package writes a file, another reads or runs it."""

from __future__ import annotations

# The folder of the host's certificate and key, and of the authority's certificate.
TLS = "/etc/plainstack/tls"
# The changes that Plainstack made on the host: one line of JSON per transaction.
AUDIT = "/var/log/plainstack/audit.jsonl"
# The firewall program, which can also fence hosts off, and the directory that lists the fenced hosts.
FILTER = "/usr/local/sbin/plainstack-firewall"
FENCES = "/etc/iptables/fence.d"
