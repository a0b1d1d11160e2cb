"""The ports that Plainstack's own programs use on hosts; roles take the ports they bind and open from here."""

from __future__ import annotations

HTTP = 80
HTTPS = 443
POSTGRESQL = 5432
RESTORED = 5499
PROXY_STATUS = 8081
PROMETHEUS = 9090
ALERTMANAGER = 9093
NODE_EXPORTER = 9100
BALANCER_METRICS = 9113
BLACKBOX = 9115
POSTGRES_EXPORTER = 9187
FOLDERS = 9873
CACHE = 6379
CACHE_SENTINEL = 26379
CACHE_EXPORTER = 9121

SSH = 22
"""sshd's default port. Even if the inventory names another one, Debian's sshd may still listen here."""

TAKEN = {
    SSH: "sshd",
    HTTP: "the balancers (HTTP)",
    HTTPS: "the balancers (HTTPS)",
    POSTGRESQL: "PostgreSQL",
    RESTORED: "restored clusters",
    PROXY_STATUS: "the balancers (status page)",
    PROMETHEUS: "Prometheus",
    ALERTMANAGER: "Alertmanager",
    NODE_EXPORTER: "the node exporter",
    BALANCER_METRICS: "the balancers' metrics",
    BLACKBOX: "the blackbox exporter",
    POSTGRES_EXPORTER: "the PostgreSQL exporter",
    FOLDERS: "snapshots of services' folders",
    CACHE: "the cache",
    CACHE_SENTINEL: "the cache's Sentinels",
    CACHE_EXPORTER: "the cache's metrics",
}
"""What uses each port, as messages name it."""
