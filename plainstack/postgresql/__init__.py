"""PostgreSQL: its roles and slots as SQL, and which host is primary, as observed."""
