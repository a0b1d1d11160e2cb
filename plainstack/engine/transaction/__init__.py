"""Transactions: POSIX sh scripts that carry out a plan, each all or nothing."""
