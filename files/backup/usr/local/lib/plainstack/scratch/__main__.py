"""Scratch clusters: a backup, restored to a moment, in a PostgreSQL server of its own on the backup host."""

import sys

from commands import main

sys.exit(main())
