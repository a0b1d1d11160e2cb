"""The command line: scratch start, stop, status; and run, which systemd starts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import lending
import record
import recovery
import service
import trial_unit
from place import Failed, Place


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = argparse.ArgumentParser(prog="scratch", description="Restore a backup into a cluster of its own.")
    verbs = whole.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="restore a backup and bring it up; print its description as JSON")
    start.add_argument("name")
    start.add_argument("--backup", default="latest", help="the id of a backup (default: latest)")
    test = verbs.add_parser("test", help="restore a backup, check it, and delete it again; print the result as JSON")
    test.add_argument("--backup", default="latest", help="the id of a backup (default: latest)")
    test.add_argument("--at", help="recover to this time (default: to the end of the WAL)")
    test.add_argument("--from-copy", action="store_true", help="take the backup from the second copy")
    lend = verbs.add_parser("lend", help="test a backup with a cluster that another host copies and checks")
    lend.add_argument("--backup", default="latest", help="the id of a backup (default: latest)")
    lend.add_argument("--at", help="recover to this time (default: to the end of the WAL)")
    for one in (test, lend):
        serve = one is lend
        one.add_argument("--timeline", type=int, default=0, help="follow this timeline (default: the latest)")
        one.set_defaults(before_xid=None, lsn="", consistent=False, dump=False, serve=serve, or_end=True)
    trial = verbs.add_parser("trial", help="for systemd: carry out a restore test")
    trial.add_argument("--from-copy", action="store_true", help="of what was fetched from the second copy")
    until = start.add_mutually_exclusive_group()
    until.add_argument("--at", help="recover to this time, with its time zone: 2026-11-21T14:03:00+00:00")
    until.add_argument("--before-xid", type=int, help="recover to just before this transaction")
    until.add_argument("--lsn", help="recover to this position")
    until.add_argument("--consistent", action="store_true", help="recover to the end of the backup itself")
    until.add_argument("--end", action="store_true", help="recover to the end of the WAL (default)")
    start.add_argument("--or-end", action="store_true", help="if the WAL ends before that, recover to its end")
    start.add_argument("--timeline", type=int, default=0, help="follow this timeline (default: the latest)")
    start.add_argument("--serve", action="store_true", help="let the db hosts copy it, over TLS")
    start.add_argument("--dump", action="store_true", help="let the db hosts dump tables of it, over TLS")
    for verb, text in (("stop", "end a cluster and delete it"), ("run", "for systemd: bring a cluster up")):
        verbs.add_parser(verb, help=text).add_argument("name")
    mark = verbs.add_parser("mark", help="write a marker row before a backup; print its id")
    mark.add_argument("conninfo")
    recorded = verbs.add_parser("record", help="record what the tables contain after a backup")
    for word in ("backup", "conninfo", "marker"):
        recorded.add_argument(word)
    verbs.add_parser("status", help="print all clusters as JSON")
    return whole


def options_of(found: argparse.Namespace) -> dict[str, Any]:
    """Return what a unit is asked for, as JSON can hold it. Raises Failed."""
    kind, value = "", ""
    if found.at:
        try:
            kind, value = "time", recovery.moment(found.at)
        except ValueError:
            raise Failed(f"--at={found.at}: not a time with a time zone, such as 2026-11-21T14:03:00+00:00") from None
    elif found.before_xid is not None:
        kind, value = "xid", str(found.before_xid)
    elif found.consistent:
        kind = "immediate"
    elif found.lsn:
        kind, value = "lsn", found.lsn
    return {
        "backup": found.backup,
        "target": [kind, value],
        "timeline": found.timeline,
        "serve": found.serve,
        "dump": found.dump,
        "or_end": found.or_end,
    }


def main() -> int:
    """Run one command; return the exit code."""
    found = parser().parse_args()
    try:
        place = Place.read()
        # Let the units, which do not run as root, read root's request.
        os.umask(0o022 if os.geteuid() == 0 else 0o077)
        if found.verb == "run" and found.name == lending.NAME:
            return lending.run(place)
        if found.verb == "run":
            return service.run(place, found.name)
        if found.verb == "trial":
            return trial_unit.run(place, trial_unit.COPY if found.from_copy else trial_unit.USUAL)
        if found.verb == "mark":
            sys.stdout.write(f"{record.mark(found.conninfo)}\n")
            return 0
        if found.verb == "record":
            record.record(place, found.conninfo, found.backup, found.marker)
            return 0
        if os.geteuid() != 0:
            raise Failed("run this as root: systemd starts the cluster as another account")
        if found.verb == "start":
            service.start(place, found.name, options_of(found))
        elif found.verb == "lend":
            service.start(place, lending.NAME, options_of(found))
        elif found.verb == "test":
            kind = trial_unit.COPY if found.from_copy else trial_unit.USUAL
            return trial_unit.start(place, options_of(found), kind)
        elif found.verb == "stop":
            service.stop(place, found.name)
        else:
            sys.stdout.write(json.dumps(service.status(place)) + "\n")
    except Failed as error:
        sys.stderr.write(f"{error}\n" + (f"{error.details}\n" if error.details else ""))
        return 1
    return 0
