"""Restoring backups: scratch clusters on the backup host, and what is made from them."""
