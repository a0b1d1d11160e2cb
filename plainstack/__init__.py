"""Plainstack: a highly available web stack on plain Debian hosts, over plain SSH."""

import os

__version__ = "0.1.0"

# The inventory models use no pydantic plugins, and the search for them is a good part of pydantic's start-up time.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
