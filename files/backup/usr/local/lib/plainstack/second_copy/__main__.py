"""The second copy of the backups, on another machine: copy, check, and fetch for a restore test or after a loss."""

import sys

from verbs import main

sys.exit(main())
