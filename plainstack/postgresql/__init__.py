"""PostgreSQL: its roles and replication slots, its backups, which host is the primary, and failover."""
