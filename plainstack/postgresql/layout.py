"""PostgreSQL on a db host: its version, paths, unit and port, in Debian's scheme for one cluster (main)."""

from __future__ import annotations

from plainstack.inventory import port_numbers as ports

VERSION = 17
PORT = ports.POSTGRESQL
UNIT = f"postgresql@{VERSION}-main.service"
BIN = f"/usr/lib/postgresql/{VERSION}/bin"
ETC = f"/etc/postgresql/{VERSION}/main"
# The folder of this version's clusters; replaced data directories are kept here, and copies are made here.
CLUSTERS = f"/var/lib/postgresql/{VERSION}"
DATA = f"{CLUSTERS}/main"
PASSFILE = "/var/lib/postgresql/.pgpass"
START_GUARD = "/usr/local/lib/plainstack/db-start-guard"
# Written by a failover: this setting acknowledges writes that no standby has.
DEGRADED = f"{ETC}/conf.d/90-degraded.conf"
# On a db host: says when a failover fenced it off. It keeps the server from starting as a primary.
FENCED = "/var/lib/plainstack/fenced"
# Exists while pg_rewind runs; if it is left behind, the data directory cannot be trusted.
REWINDING = "/var/lib/plainstack/rewinding"
# Not runuser: PAM would log two lines for every probe. Not Debian's psql: it is a Perl wrapper.
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --"
