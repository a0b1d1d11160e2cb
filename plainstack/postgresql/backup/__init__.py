"""Backups of the cluster with Barman: what it holds, and how backups are taken."""
