"""Plainstack: a highly available web stack on plain Debian hosts, over plain SSH."""

__version__ = "0.1.0"
