"""Why a backup failed, and what to do about it: from the words of Barman 3.13.3 and PostgreSQL 17."""

from __future__ import annotations

import pytest

from plainstack.postgresql.backup.failures import Failure, last_words, parse, reasons


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "pg_basebackup: error: could not write to file: No space left on device",
            "the disk of /var/lib/barman on the backup host is full: 4 KiB are free now. Make it larger,",
        ),
        (
            'FATAL:  password authentication failed for user "streaming_barman"',
            "the primary refuses the password of streaming_barman.",
        ),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.5"', "the primary rejects the backup host."),
        ("SSL error: certificate verify failed", "the TLS connection to the primary fails."),
        ("ERROR:  WAL summaries are required on timeline 1 from 0/2 to 0/3", "PostgreSQL no longer has its record"),
        (
            "FATAL:  number of requested standby connections exceeds max_wal_senders",
            "the primary has no free WAL sender",
        ),
        ("requested WAL segment 000000010000000000000007 has already been removed", "the primary no longer has WAL"),
        (
            "pg_basebackup: error: could not read COPY data: server closed the connection",
            "the primary became unreachable",
        ),
        ('connection to server at "db1", port 5432 failed: Connection refused', "the primary became unreachable"),
        (
            "backup 1 is copied, but WAL that it needs has not arrived; see why",
            "the WAL that the backup needs does not",
        ),
    ],
)
def test_the_cause_is_told_with_what_to_type(said: str, reason: str) -> None:
    (found,) = reasons(Failure(4096, log=("other", said)))
    assert found.startswith(reason)
    assert "inv " in found or "fab " in found or "backup.retention" in found


def test_a_full_disk_is_reported_with_what_the_backup_needs() -> None:
    (found,) = reasons(Failure(4096, log=("No space left on device",)), 2**30)
    assert "4 KiB are free now, and the backup needs about 1.0 GiB." in found


def test_without_a_known_cause_the_failed_checks_are_named_and_consequences_left_out() -> None:
    checks = {"replication_slot": "slot 'barman' not active", "backup_maximum_age": "No available backups"}
    (found,) = reasons(Failure(checks=checks))
    assert found.startswith(
        "Barman's check 'replication_slot' fails (slot 'barman' not active): slot barman is missing"
    )
    (found,) = reasons(Failure(checks={**checks, "postgresql_streaming": "no", "postgresql": ""}))
    assert found.startswith("Barman's check 'postgresql' fails: Barman cannot log in to the primary.")
    assert len(reasons(Failure(journal=("Connection refused",), checks=checks))) == 1


def test_a_failure_that_nothing_explains_has_no_reason_but_last_words() -> None:
    failure = Failure(
        journal=(
            "Starting plainstack-backup-full.service - Full backup of shop...",
            "pam_unix(runuser:session): session opened for user barman",
            "ERROR: it burned",
            "plainstack-backup-full.service: Failed with result 'exit-code'.",
        )
    )
    assert reasons(failure) == []
    assert last_words(failure) == ["ERROR: it burned"]


@pytest.mark.parametrize("text", ["", "=== check\n", "=== check\nno JSON\n", "=== free\nAvail\n=== check\n[]\n"])
def test_what_the_host_does_not_say_is_empty(text: str) -> None:
    assert parse(text) == Failure()
