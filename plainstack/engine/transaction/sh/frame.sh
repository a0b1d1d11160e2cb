# The part of a transaction that is the same on every host: this file, the others of this folder, and those of kinds;
# engine/transaction/script.py puts them together and appends the steps.
# POSIX sh; run as root with RUN = the folder of this run. Nothing on the host changes before `begin`.
# ROOT is for tests: another directory tree, whose bin may hold stand-ins for programs.
export LC_ALL=C PATH=${ROOT:+$ROOT/bin:}/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
umask 022
STATE=${ROOT:-}/var/lib/plainstack
# If the connection breaks, writing the answer fails, but the transaction still finishes.
trap '' HUP PIPE INT

emit() { printf '%s\n' "$*" 2>/dev/null || :; }

tail_of() { # tail_of FILE LINES: show its last lines, the very last one also if no newline ends it
    tail -n "$2" "$1" | sed -e 's/^/@tail	/' -e '$a\'
}

# A step is announced before it runs, so that a step that hangs or fails is known by name.
# UNIT is the unit that the step starts, restarts or reloads; if it fails, its journal is shown.
UNIT=
step() {
    STEP=$1 UNIT=
    shift
    emit "@step	$STEP"
    at_work
    "$@" 2>"$RUN/errors" || fail $?
}

fail() {
    code=$1
    trap - EXIT
    exec 2>/dev/null
    [ ! -s "$RUN/errors" ] || tail_of "$RUN/errors" 5
    [ -e "$RUN/begun" ] || { emit "@failed	untouched	$code	$STEP"; discard; exit 1; }
    show_journal
    outcome=rolled-back
    rollback || outcome=half-undone
    emit "@failed	$outcome	$code	$STEP"
    audit "$outcome"
    discard
    exit 1
}

show_journal() {
    [ -n "$UNIT" ] || return 0
    systemctl status --no-pager --lines=0 "$UNIT" 2>&1 | sed -n 's/^ *Active: /@tail	/p'
    # On a busy host, what the unit has just said is not in the journal yet.
    timeout 5 journalctl --sync >/dev/null 2>&1 || :
    journalctl --no-pager --quiet -o cat -n 12 -u "$UNIT" 2>/dev/null | sed 's/^/@tail	/'
}

discard() {
    disarm
    [ ! -e "$RUN/previewed" ] || forget_preview
    rm -rf "$RUN"
}

# --- the lock of this host's transactions, and whether the controller is still connected ---

# The file says what the holder of the lock is doing, for a run that finds it locked: plainstack.engine.settled.
APPLYING=${ROOT:-}/run/plainstack-apply.lock
LOCKED=

at_work() { # at_work [UNTIL PROGRESS]: when the step ends at the latest, in seconds since 1970, and how far it is
    [ -n "$LOCKED" ] || return 0
    printf 'step	%s\n%s' "$STEP" "${1:+until	$1
}${2:+progress	$2
}" >"$APPLYING" 2>/dev/null || :
}

take_apply_lock() {
    if [ ! -d "$STATE/manifest" ] || [ ! -d "$STATE/units" ]; then
        # From here on, all that is added to this host is recorded.
        [ -d "$STATE/manifest" ] || { mkdir -p "$STATE/made" && : >"$STATE/made/complete"; }
        mkdir -p "$STATE/manifest" "$STATE/units"
    fi
    chmod 700 "$STATE"
    exec 8>>"$APPLYING"
    flock -n 8 || {
        emit "@step	wait for an earlier run that is still ending on this host (90 s at most)"
        flock -w 90 8 || {
            STEP='wait for an earlier run that is still ending on this host'
            sed -n 's/^step	/@tail	it has come to this step: /p; s/^progress	/@tail	    /p' "$APPLYING"
            emit '@tail	nothing was changed. Run the same command again: it waits until the step has ended'
            return 75
        }
    }
    # What programs print is for root only.
    chmod 600 "$APPLYING"
    LOCKED=yes
    announced=
    while guarded; do
        [ -n "$announced" ] || emit "@step	wait for an earlier run's change to be undone (180 s at most)"
        announced=yes
        sleep 0.5
    done
    for left in "$STATE"/runs/*; do
        [ "$left" = "$RUN" ] || { empty_trash "$left"; rm -rf "$left"; }
    done
    [ ! -e "${ROOT:-}/usr/sbin/policy-rc.d" ] || release_daemons
    record_installed
}

guarded() {
    # Without the guard's unit file there is no need to start systemctl.
    set -- "${ROOT:-}/run/systemd/transient/plainstack-guard"-*
    [ -e "$1" ] || return
    [ -n "$(systemctl list-units --plain --no-legend --state=active,activating 'plainstack-guard-*' 2>/dev/null)" ]
}

unchanged_since() { # unchanged_since GENERATION: the generation at the time of the probe
    generation=
    [ ! -f "$STATE/generation" ] || read -r generation <"$STATE/generation"
    [ "$generation" = "$1" ] && return
    emit "@tail	an earlier run was still changing this host while this run probed it. Run the same command again"
    return 75
}

watch_controller() {
    # The controller keeps our input open, so the end of the input means that the controller has ended.
    { while read -r _; do :; done; [ ! -d "$RUN" ] || : >"$RUN/orphaned"; } <&7 >/dev/null 2>&1 8>&- &
    exec 7<&-
}

still_wanted() {
    [ ! -e "$RUN/orphaned" ]
}

# --- the end ---

audit() { # audit RESULT
    [ -f "$RUN/audit" ] || return 0
    [ -d "${ROOT:-}/var/log/plainstack" ] || mkdir -p "${ROOT:-}/var/log/plainstack"
    read -r by <"$RUN/audit"
    printf '{"at": "%s", "result": "%s", %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "${by#?}" \
        >>"${ROOT:-}/var/log/plainstack/audit.jsonl"
}

end() {
    next_generation done
    if [ -n "${GUARDED:-}" ]; then
        STEP='give the operator time to confirm'
        arm 30 || fail $?
    fi
    audit done
    trap - EXIT
    if [ -n "${GUARDED:-}" ]; then
        emit "@unconfirmed	${RUN##*/}"
    else
        empty_trash "$RUN"
        rm -rf "$RUN"
    fi
    emit "@done"
}
