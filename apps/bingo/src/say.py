"""The program's output, sent line by line, so that progress can be followed."""

import sys


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print a line about something that is wrong."""
    sys.stderr.write(f"bingo: {text}\n")
    sys.stderr.flush()
