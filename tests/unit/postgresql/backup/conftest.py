"""A backup host's folder, and programs in place of Barman and psql, which need a PostgreSQL server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BARMAN = r"""#!/bin/sh
# A Barman whose backup is usable after $NEEDS archivings.
echo "$*" >>"$LOG"
case $* in
"backup shop" | "backup --incremental 20261120T000000 shop")
    [ -z "${BROKEN:-}" ] || { echo 'ERROR: Impossible to start the backup.' >&2; exit 1; }
    echo "status=WAITING_FOR_WALS" >"$FOLDER/meta/20261122T010000-backup.info" ;;
"check shop") printf 'WAL archive: OK\nPostgreSQL: FAILED\n'; exit 1 ;;
"-q archive-wal shop")
    echo x >>"$FOLDER/archived"; mkdir -p "$FOLDER/wals"; echo 1 >"$FOLDER/wals/shop-xlog.db" ;;
"-q check-backup"*)
    [ "$(wc -l <"$FOLDER/archived")" -lt "$NEEDS" ] || echo status=DONE >"$FOLDER/meta/$4-backup.info" ;;
"-q delete"*) rmdir "$FOLDER/base/$4" && rm "$FOLDER/meta/$4-backup.info" ;;
"-f json check shop") cat "$FOLDER/check.json" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "shop"
    (found / "meta").mkdir(parents=True)
    for name, text in (
        ("barman", BARMAN),
        ("psql", '#!/bin/sh\ncase $* in *pg_stat_replication*) echo 1 ;; *) echo "psql $*" >>"$LOG" ;; esac\n'),
        ("sleep", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(found))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("NEEDS", "4")
    return found
