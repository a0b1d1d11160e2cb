"""PostgreSQL: its roles and replication slots, its backups, the states of the db hosts, and failover."""
