"""The command line of the program."""

import sys

from commands import main

sys.exit(main(sys.argv[1:]))
