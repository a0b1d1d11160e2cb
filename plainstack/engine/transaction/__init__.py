"""A plan as the one POSIX sh script that does it, all or nothing."""
