"""The PostgreSQL server of a scratch cluster: its settings, its start, and its end."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import recovery
from place import Cluster, Failed, last_lines
from recovery import Logged

FETCH = Path(__file__).with_name("fetch.py")
# The account that may read all tables of a cluster that is dumped. It is no superuser: a database host must not be able
# to run programs on the backup host.
DUMPER = "plainstack_dump"
DUMPER_ROLE = f"create role {DUMPER} login bypassrls in role pg_read_all_data"
_STOP_SECONDS = 60
# Settings that recovery needs at least as high as they were on the primary, by their names in pg_controldata.
_LIMITS = {
    "max_connections setting": ("max_connections", 100),
    "max_worker_processes setting": ("max_worker_processes", 8),
    "max_wal_senders setting": ("max_wal_senders", 10),
    "max_prepared_xacts setting": ("max_prepared_transactions", 0),
    "max_locks_per_xact setting": ("max_locks_per_transaction", 64),
}
# Settings of a restored cluster that would connect it to the live one, or delay its recovery.
_LEFT_BY_OTHERS = re.compile(
    r"\s*(restore_command|archive_cleanup_command|recovery_end_command|recovery_target\w*|primary_\w+|archive_\w+"
    r"|synchronous_standby_names|#.*barman.*)\b",
    re.IGNORECASE,
)


def control_data(cluster: Cluster) -> dict[str, str]:
    """Return what pg_controldata prints."""
    ran = subprocess.run(
        [cluster.place.bin / "pg_controldata", cluster.data], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise Failed("the restored data directory has no readable pg_control", ran.stderr)
    pairs = (line.partition(":") for line in ran.stdout.splitlines())
    return {key: value.strip() for key, _, value in pairs}


def settings(cluster: Cluster, control: Mapping[str, str], *, serve: bool) -> dict[str, str]:
    """Return the settings of the server, without those of its recovery. They override all that were restored."""
    found = {
        "config_file": str(cluster.config / "postgresql.conf"),
        "hba_file": str(cluster.config / "pg_hba.conf"),
        "ident_file": str(cluster.config / "pg_ident.conf"),
        "port": str(cluster.place.port),
        "listen_addresses": "*" if serve else "",
        "unix_socket_directories": str(cluster.socket),
        "cluster_name": f"scratch {cluster.name}",
        "shared_buffers": "64MB",
        "max_wal_size": "256MB",
        "archive_mode": "off",
        "archive_command": "",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "synchronous_standby_names": "",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "autovacuum": "off",
        "max_replication_slots": "10",
        "wal_level": "replica",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "%m ",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "log_startup_progress_interval": "2s",
        "lc_messages": "C",
        "jit": "off",
        "ssl": "on" if serve else "off",
    }
    for key, (name, least) in _LIMITS.items():
        found[name] = str(max(least, int(control.get(key) or 0)))
    if serve:
        tls = cluster.place.tls
        found |= {
            "ssl_cert_file": str(tls / "host.crt"),
            "ssl_key_file": str(tls / "host.key"),
            "ssl_ca_file": str(tls / "ca.crt"),
            "ssl_min_protocol_version": "TLSv1.2",
            "wal_sender_timeout": "60s",
        }
    return found


def configure(cluster: Cluster, *, serve: bool, dump: bool = False) -> None:
    """Write the configuration, and remove from the restored data what belongs to the cluster that it comes from."""
    cluster.config.mkdir(mode=0o700, exist_ok=True)
    cluster.socket.mkdir(mode=0o700, exist_ok=True)
    (cluster.config / "postgresql.conf").write_text("# All settings are on the command line.\n")
    access = ["local all postgres peer map=scratch"]
    names = ["scratch barman postgres", "scratch root postgres", "scratch postgres postgres"]
    if serve:
        for name, address in cluster.place.readers.items():
            access.append(f"hostssl replication replicator {_only(address)} cert map=readers")
            names.append(f"readers {name} replicator")
    if dump:
        for name, address in cluster.place.readers.items():
            access.append(f"hostssl all {DUMPER} {_only(address)} cert map=dumpers")
            names.append(f"dumpers {name} {DUMPER}")
    (cluster.config / "pg_hba.conf").write_text("\n".join(access) + "\n")
    (cluster.config / "pg_ident.conf").write_text("\n".join(names) + "\n")
    for name in ("standby.signal", "recovery.done", ".barman-recover.info", "postmaster.pid"):
        (cluster.data / name).unlink(missing_ok=True)
    automatic = cluster.data / "postgresql.auto.conf"
    lines = automatic.read_text().splitlines(keepends=True) if automatic.exists() else []
    automatic.write_text("".join(line for line in lines if not _LEFT_BY_OTHERS.match(line)))
    cluster.data.chmod(0o700)


def _only(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


class Postmaster:
    """A running server. `log` is what it has written since its start."""

    def __init__(self, cluster: Cluster, wanted: Mapping[str, str]) -> None:
        self._cluster = cluster
        # A log of an earlier start must not answer questions about this one.
        with cluster.log.open("wb") as log:
            words = [str(cluster.place.bin / "postgres"), "-D", str(cluster.data)]
            for name, value in wanted.items():
                words += ["-c", f"{name}={value}"]
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cluster.folder, env={"LC_ALL": "C"}
            )

    @property
    def log(self) -> Logged:
        """What the log says by now."""
        return recovery.read(self._cluster.log.read_text(errors="replace"))

    def await_ready(self) -> Iterator[Logged]:
        """Yield what the log says twice a second; end when the server accepts writes, has paused, or has ended."""
        while not (seen := self.log).up and not seen.paused and self._process.poll() is None:
            yield seen
            time.sleep(0.1 if seen.restored < 2 else 0.5)

    @property
    def running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until the server ends by itself; return its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Stop the server: cleanly at first, and by force if that takes too long."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)


def query(cluster: Cluster, text: str, database: str = "postgres", timeout: float = 3600) -> str:
    """Run a query as the superuser and return what psql prints. Raises Failed."""
    words = [str(cluster.place.bin / "psql"), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    words += [f"host={cluster.socket} port={cluster.place.port} user=postgres dbname='{_quoted(database)}'"]
    ran = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if ran.returncode:
        raise Failed(f"a query failed in the scratch cluster: {' '.join(ran.stderr.split())}", last_lines(cluster.log))
    return ran.stdout.strip()


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def fetch_command(cluster: Cluster, segment_size: int) -> str:
    """Return the restore_command that reads from Barman's folders."""
    return f"{sys.executable} -I {FETCH} {cluster.place.archive} {segment_size} %f %p"
