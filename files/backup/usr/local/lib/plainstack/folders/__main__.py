"""The folders of services that are backed up: fetched, kept, tested, and brought back."""

import sys

from folder_verbs import main

sys.exit(main(sys.argv[1:]))
