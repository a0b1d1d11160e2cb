"""Where PostgreSQL is on a db host: its version, paths, unit and port, by Debian's scheme for one cluster (main)."""

from __future__ import annotations

from plainstack.inventory import port_numbers as ports

VERSION = 17
PORT = ports.POSTGRESQL
UNIT = f"postgresql@{VERSION}-main.service"
BIN = f"/usr/lib/postgresql/{VERSION}/bin"
ETC = f"/etc/postgresql/{VERSION}/main"
# Of the clusters of this version; beside the data directory, replaced ones are kept, and copies are made.
CLUSTERS = f"/var/lib/postgresql/{VERSION}"
DATA = f"{CLUSTERS}/main"
PASSFILE = "/var/lib/postgresql/.pgpass"
START_GUARD = "/usr/local/lib/plainstack/db-start-guard"
# Written by a failover: writes are acknowledged although no standby has them.
DEGRADED = f"{ETC}/conf.d/90-degraded.conf"
# On a db host: why a failover shut it out. It keeps the server from starting as a primary.
FENCED = "/var/lib/plainstack/fenced"
# The same, while pg_rewind is at work: should it be interrupted, the data directory can not be trusted.
REWINDING = "/var/lib/plainstack/rewinding"
# Not runuser: PAM would write two lines into the journal for every probe. Not plain psql: that is a Perl wrapper.
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --"
