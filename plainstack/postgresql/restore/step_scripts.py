"""The shell scripts of a restore's steps on the other hosts; db_scripts.py has those of the db hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from shlex import join, quote

from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman, folders
from plainstack.postgresql.restore import db_scripts, processes, scratch
from plainstack.postgresql.restore.acts import Act, RestoreStep
from plainstack.postgresql.restore.situation import RECORDS, SCRATCH
from plainstack.services import maintenance
from plainstack.services.folders import Kept
from plainstack.shell import journal


def body(stack: Stack, step: RestoreStep, who: str) -> str:
    """Return the shell code of a step; `who` closes the site."""
    if step.do in db_scripts.BODIES:
        return db_scripts.BODIES[step.do](step)
    return _BODIES[step.do](stack, step, who)


def _record(_stack: Stack, step: RestoreStep, _who: str) -> str:
    restore, text = step.about
    return f"""\
mkdir -p -m 700 {RECORDS}
printf '%s\\n' {quote(text)} >{RECORDS}/{restore}.new
sync {RECORDS}/{restore}.new
mv {RECORDS}/{restore}.new {RECORDS}/{restore}.json
"""


def _mark(_stack: Stack, step: RestoreStep, _who: str) -> str:
    restore, mark = step.about
    return f"touch {RECORDS}/{restore}.{mark} && sync {RECORDS}\n"


def _recover(_stack: Stack, step: RestoreStep, _who: str) -> str:
    words = join(["start", SCRATCH, *step.about, "--serve"])
    # The error begins with a sentence, and ends with the log of PostgreSQL.
    return f"""\
said=$(mktemp -d)
trap 'rm -r "$said"' EXIT
{{ /usr/bin/python3 -I {scratch.PROGRAM} {words} 2>"$said/error" || touch "$said/failed"; }} |
    sed -u '/^{{/!s/^/progress: /'
[ -e "$said/failed" ] || exit 0
head -n 1 "$said/error" >&2
tail -n +2 "$said/error" | tail -n 4 >&2
exit 1
"""


def _drop_scratch(_stack: Stack, _step: RestoreStep, _who: str) -> str:
    return scratch.stop_script(SCRATCH)


def _close(_stack: Stack, step: RestoreStep, who: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    state = maintenance.Closed(now, who, maintenance.MESSAGE)
    return "".join(maintenance.close(service, state) for service in step.about) + maintenance.SEEN


def _open(_stack: Stack, step: RestoreStep, _who: str) -> str:
    return "".join(maintenance.open_again(service) for service in step.about)


def _halt(stack: Stack, step: RestoreStep, _who: str) -> str:
    return processes.halt(stack, stack.hosts[step.host])


def _resume(_stack: Stack, _step: RestoreStep, _who: str) -> str:
    return processes.RESUME


_CRON = "plainstack-barman-cron"


def _silence(_stack: Stack, _step: RestoreStep, _who: str) -> str:
    # Barman's cron would start a receiver.
    return f"systemctl stop {_CRON}.timer {_CRON}.service {barman.RECEIVER_UNIT}\n"


def _receive(stack: Stack, _step: RestoreStep, _who: str) -> str:
    return f"systemctl start {barman.RECEIVER_UNIT}\n{barman.await_streaming(stack)}systemctl start {_CRON}.timer\n"


def _reanchor(stack: Stack, step: RestoreStep, who: str) -> str:
    restore, mark = step.about
    server = barman.server(stack)
    return f"""\
{scratch.stop_script(SCRATCH)}\
{_silence(stack, step, who)}\
rm -f {barman.missing_file(stack)} {barman.folder(stack)}/wal-mended
{_keep_abandoned(stack)}\
runuser -u barman -- barman -q receive-wal --reset {server}
# Only now: Barman keeps the newest file unless there is an incomplete one, such as the reset has made. The receiver
# would continue after that file, which is of the abandoned timeline.
runuser -u barman -- barman -q archive-wal {server}
{_receive(stack, step, who)}\
touch {RECORDS}/{restore}.{mark}
"""


def _keep_abandoned(stack: Stack) -> str:
    """Return shell code that completes the last, incomplete segment of an abandoned timeline, which a reset removes.

    Of the new timeline, which Barman may receive already if this step is repeated, nothing is touched.
    """
    folder = barman.folder(stack)
    conninfo = f"{barman.conninfo(stack)} user=streaming_barman replication=true"
    return f"""\
live=$(runuser -u barman -- psql -XAtqw -c IDENTIFY_SYSTEM {quote(conninfo)} | cut -d '|' -f 2) || live=
segment=$(cat {folder}/meta/*-backup.info 2>/dev/null | sed -n 's/^xlog_segment_size=//p' | tail -n 1)
for part in {folder}/streaming/*.partial; do
    [ -n "$live" ] || break
    case ${{part##*/}} in "$(printf %08X "$live")"*) continue ;; esac
    if [ "$(stat -c %s "$part" 2>/dev/null)" = "${{segment:-16777216}}" ]; then mv "$part" "${{part%.partial}}"; fi
done
"""


def _backup(stack: Stack, step: RestoreStep, _who: str) -> str:
    """Take a backup that began after the restore; one that is running is awaited, and does not count."""
    restore, mark = step.about
    unit = f"{barman.unit('full')}.service"
    since = f"{RECORDS}/{restore}.{mark.replace('backed-up', 'reanchored')}"
    newest = f'[ -n "$(find {barman.folder(stack)}/meta -name "*-backup.info" -newer {since})" ]'
    return f"""\
take() {{
    systemctl reset-failed {unit} 2>/dev/null || :
    systemctl start {unit}
}}
take || take || {{
    {journal(unit, "--invocation=0", "--lines=12", "_TRANSPORT=stdout")} >&2
    {barman.WHY_NO_WAL}
    exit 1
}}
{newest} || take
touch {RECORDS}/{restore}.{mark}
"""


def _prepare_files(_stack: Stack, step: RestoreStep, _who: str) -> str:
    restore, service, folder, host, snapshot, size = step.about
    prepare = folders.step("prepare", Kept(service, folder, host), id=restore, snapshot=snapshot, size=size).strip()
    return f"""\
said=$({prepare})
[ "${{said% *}}" = {restore} ] || {{
    echo "inv restore --files={service}/{folder} has not finished. Finish it, or undo it with --undo" >&2
    exit 1
}}
"""


def _copy_files(_stack: Stack, step: RestoreStep, _who: str) -> str:
    service, folder, host, snapshot, _size = step.about
    return folders.send_script(Kept(service, folder, host), snapshot)


def _swap_files(_stack: Stack, step: RestoreStep, _who: str) -> str:
    restore, service, folder, host, *_ = step.about
    one = Kept(service, folder, host)
    return folders.step("swap", one, id=restore) + folders.step("finish", one, id=restore)


def _undo_files(_stack: Stack, step: RestoreStep, _who: str) -> str:
    restore, key = step.about
    one = _kept(step.host, key)
    return folders.step("undo", one, id=restore) + folders.step("finish", one, id=restore)


def _discard_files(_stack: Stack, step: RestoreStep, _who: str) -> str:
    key, *names = step.about
    return "".join(folders.step("discard", _kept(step.host, key), id=name.partition("-")[2]) for name in names)


def _kept(host: str, key: str) -> Kept:
    service, _, folder = key.partition("/")
    return Kept(service, folder, host)


_BODIES: Mapping[Act, Callable[[Stack, RestoreStep, str], str]] = {
    Act.RECORD: _record,
    Act.MARK: _mark,
    Act.RECOVER: _recover,
    Act.DROP_SCRATCH: _drop_scratch,
    Act.CLOSE: _close,
    Act.OPEN: _open,
    Act.HALT: _halt,
    Act.RESUME: _resume,
    Act.SILENCE: _silence,
    Act.RECEIVE: _receive,
    Act.REANCHOR: _reanchor,
    Act.BACKUP: _backup,
    Act.PREPARE_FILES: _prepare_files,
    Act.COPY_FILES: _copy_files,
    Act.SWAP_FILES: _swap_files,
    Act.UNDO_FILES: _undo_files,
    Act.DISCARD_FILES: _discard_files,
}
