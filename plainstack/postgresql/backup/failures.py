"""Why a backup failed: which of Barman's checks fails, or what the log says, and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.postgresql.backup.barman import HOME
from plainstack.postgresql.sql import BARMAN_SLOT
from plainstack.wording import size

# Words in Barman's log and the unit's journal, most telling first. The first that is found explains the failure.
_SYMPTOMS = (
    (
        r"No space left on device|Disk quota exceeded",
        f"the disk of {HOME} on the backup host is full: {{free}} are free now{{needed}}. Make it larger, or keep"
        " backups for a shorter time (backup.retention), and try again. The primary keeps the WAL that does not fit, up"
        " to database.max_slot_wal_keep_size. The next backup that succeeds removes the incomplete one",
    ),
    (
        r'password authentication failed for user "(?P<what>[a-z_]+)"',
        "the primary refuses the password of {what}. A deploy gives the db hosts and the backup host the same one:"
        " inv deploy",
    ),
    (
        r"no pg_hba\.conf entry",
        "the primary rejects the backup host. A deploy restores its pg_hba.conf: inv deploy",
    ),
    (
        r"certificate verify failed|SSL error|does not match host name",
        "the TLS connection to the primary fails. A deploy issues new certificates: inv deploy",
    ),
    (
        r"WAL summar(y|ies) (is|are) required|summarize_wal",
        "PostgreSQL no longer has its record of what changed since the last backup (WAL summaries). Take a full backup:"
        " inv backup-now",
    ),
    (
        r"max_wal_senders|all replication slots are in use",
        "the primary has no free WAL sender or slot for Barman. See who uses them: fab failover status",
    ),
    (
        r"requested WAL segment \S+ has already been removed|can no longer (access|get changes from) replication slot"
        r"|is not in this server's history",
        "the primary no longer has WAL that Barman needs. Its receiver restarts within seconds. Then try again:"
        " inv backup-now",
    ),
    (
        r"terminating connection|server closed the connection|SSL SYSCALL|could not (receive|read) .*(data|COPY)"
        r"|Connection (refused|timed out|reset)|No route to host|could not translate host name"
        r"|session is (read-only|not read-write)|the database system is (shutting down|starting up)",
        "the primary became unreachable, or there is none. Look at the db hosts: fab failover status. Then try again",
    ),
    (
        r"WAL that it needs has not arrived|no WAL has arrived",
        "the WAL that the backup needs does not arrive. See why: inv logs plainstack-barman-receive-wal",
    ),
)

_CONNECTING = ("postgresql", "postgresql_streaming")
_PRIVILEGES = "the account barman lacks privileges. A deploy grants them: inv deploy"
_ANOTHER = "has another version than the primary. A deploy installs the right one: inv deploy"
# Barman's checks by their keys in its JSON. Those that are left out follow from a failed backup, and explain nothing.
_CHECKS: Mapping[str, str] = {
    "postgresql": "Barman cannot log in to the primary. See whether there is one: fab failover status",
    "postgresql_streaming": "Barman cannot stream from the primary. See whether there is one: fab failover status",
    "superuser_or_standard_user_with_backup_privileges": _PRIVILEGES,
    "has_monitoring_privileges": _PRIVILEGES,
    "wal_level": "the primary writes too little WAL (wal_level). A deploy sets it: inv deploy",
    "replication_slot": f"slot {BARMAN_SLOT} is missing or unused on the primary. A deploy makes it: inv deploy",
    "directories": "Barman cannot write to its folders. Check with inv shell whether the disk is full or read-only",
    "retention_policy_settings": "Barman does not understand backup.retention. A deploy writes it again: inv deploy",
    "compression_settings": "Barman's configuration was changed. A deploy writes it again: inv deploy",
    "pg_basebackup": "pg_basebackup is missing on the backup host. A deploy installs it: inv deploy",
    "pg_basebackup_compatible": f"pg_basebackup {_ANOTHER}",
    "pg_receivexlog": "pg_receivewal is missing on the backup host. A deploy installs it: inv deploy",
    "pg_receivexlog_compatible": f"pg_receivewal {_ANOTHER}",
    "systemid_coherence": (
        "the backups are of another cluster than the one that runs now. If you replaced it on purpose, move Barman's"
        " folder of this stack aside and deploy: inv deploy"
    ),
    "receive_wal_running": "Barman receives no WAL. See why: inv logs plainstack-barman-receive-wal",
    "archiver_errors": "Barman could not archive WAL files. They are in its folder errors: look at them with inv shell",
    "wal_archive": "no WAL has arrived yet. See why: inv logs plainstack-barman-receive-wal",
}


@dataclass(frozen=True)
class Failure:
    """What the backup host says about a failed backup: free bytes, lines of journal and log, failed checks by key."""

    free: int = 0
    journal: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Failure:
    """Return what `explain_script` printed; what is missing in it is empty."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("=== "):
            lines = parts.setdefault(line.removeprefix("=== "), [])
        else:
            lines.append(line)
    free = "".join(parts.get("free", [])).strip()
    return Failure(
        int(free) if free.isdigit() else 0,
        tuple(parts.get("journal", [])),
        tuple(parts.get("log", [])),
        dict(_failed("\n".join(parts.get("check", [])))),
    )


def _failed(text: str) -> Iterator[tuple[str, str]]:
    try:
        (checks,) = json.loads(text).values()
        for key, result in checks.items():
            if result["status"] != "OK":
                yield key, str(result["hint"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return


def reasons(failure: Failure, needed: int = 0) -> list[str]:
    """Return why the backup failed and what to do, as sentences: the cause, or else each failed check of Barman.

    `needed` is about how many bytes it would take, 0 if that is not known. If Barman cannot ask PostgreSQL, many other
    checks fail because of that.
    """
    said = "\n".join((*failure.journal, *failure.log))
    for pattern, sentence in _SYMPTOMS:
        if match := re.search(pattern, said):
            need = f", and the backup needs about {size(needed)}" if needed else ""
            what = match.groupdict().get("what") or ""
            return [sentence.format(free=size(failure.free), needed=need, what=what)]
    connecting = [key for key in _CONNECTING if key in failure.checks][:1]
    return [
        f"Barman's check {key!r} fails{f' ({hint})' if (hint := failure.checks[key]) else ''}: {sentence}"
        for key, sentence in _CHECKS.items()
        if key in (connecting or failure.checks)
    ]


def last_words(failure: Failure) -> list[str]:
    """Return the last lines of the journal that are about the backup itself."""
    noise = re.compile(r"pam_unix|^plainstack-backup-|^(Starting|Failed to start|Consumed) ")
    return [line for line in failure.journal if line.strip() and not noise.search(line)][-6:]
