#!/usr/bin/env python3
import os
import sys

from django.core.management import execute_from_command_line

from incidents_site import environment_file

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "incidents_site.settings")
    if sys.argv[1:2] != ["test"] and "RELEASE" not in os.environ:
        environment_file.load()
    execute_from_command_line(sys.argv)
