"""PostgreSQL on a db host: its version, paths, unit and port, in Debian's scheme for one cluster (main)."""

from __future__ import annotations

from plainstack.inventory import port_numbers as ports

VERSION = 17
PORT = ports.POSTGRESQL
UNIT = f"postgresql@{VERSION}-main.service"
BIN = f"/usr/lib/postgresql/{VERSION}/bin"
ETC = f"/etc/postgresql/{VERSION}/main"
# The folder of this version's clusters. It also contains replaced data directories, and copies that are being made.
CLUSTERS = f"/var/lib/postgresql/{VERSION}"
DATA = f"{CLUSTERS}/main"
PASSFILE = "/var/lib/postgresql/.pgpass"
START_GUARD = "/usr/local/lib/plainstack/db-start-guard"
# Written by a failover: with this file, the primary acknowledges writes that no standby has.
DEGRADED = f"{ETC}/conf.d/90-degraded.conf"
# Exists on a db host that a failover fenced off, and contains the time. It keeps the server from starting as a primary.
FENCED = "/var/lib/plainstack/fenced"
# Exists while pg_rewind runs. If it remains, the rewind failed or was interrupted, and the data directory is unusable.
REWINDING = "/var/lib/plainstack/rewinding"
# Exists while the database is brought back to an earlier moment, and names the restore. It keeps the server stopped.
RESTORING = "/var/lib/plainstack/restoring"
# Not runuser: PAM would log two lines for every probe. Not Debian's psql: it is a Perl wrapper.
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --"
