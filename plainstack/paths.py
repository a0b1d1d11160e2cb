"""Paths on hosts that several packages know: what one of them puts there, another reads or calls."""

from __future__ import annotations

# The host's certificate and key, and its authority's certificate.
TLS = "/etc/plainstack/tls"
# What Plainstack changed on the host, a line of JSON for each transaction.
AUDIT = "/var/log/plainstack/audit.jsonl"
# The packet filter's program, which also shuts hosts out, and the folder of those that it shuts out.
FILTER = "/usr/local/sbin/plainstack-firewall"
FENCES = "/etc/iptables/fence.d"
