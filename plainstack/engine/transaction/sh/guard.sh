# The lock-out guard: without a confirmation in time, or after a reboot, the change is rolled back.

BOOT_GUARD=${ROOT:-}/etc/systemd/system/plainstack-undo.service

arm() { # arm SECONDS
    systemctl stop "plainstack-guard-${RUN##*/}.timer" 2>/dev/null || :
    guard_boot && sync -f "$STATE" || return
    # Only for display, so a full disk does no harm.
    echo $(($(date +%s) + $1)) >"$RUN/until" || :
    # With this service type, `systemctl start` by the operator returns only when everything is undone.
    systemd-run --quiet --collect --unit="plainstack-guard-${RUN##*/}" --on-active="$1" --timer-property=AccuracySec=100ms \
        --service-type=oneshot /bin/sh -c "[ ! -d $RUN ] || { RUN=$RUN; . $RUN/library.sh; unconfirmed; }"
}

guard_boot() {
    wants=${BOOT_GUARD%/*}/sysinit.target.wants
    ! is_boot_guard_ours || return 0
    mkdir -p "$wants" && cat >"$BOOT_GUARD" <<UNIT && ln -sf "$BOOT_GUARD" "$wants/"
# plainstack: removed when the change is confirmed
[Unit]
Description=Undo a change that was not confirmed before this boot (plainstack)
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target plainstack-firewall.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c "if [ -d $RUN ]; then RUN=$RUN; BOOTING=yes; . $RUN/library.sh; unconfirmed; fi; rm -f $BOOT_GUARD $wants/${BOOT_GUARD##*/}"
UNIT
}

disarm() {
    systemctl stop "plainstack-guard-${RUN##*/}.timer" 2>/dev/null || :
    unguard_boot
}

is_boot_guard_ours() { grep -qsF "RUN=$RUN;" "$BOOT_GUARD"; }

unguard_boot() {
    ! is_boot_guard_ours || rm -f "$BOOT_GUARD" "${BOOT_GUARD%/*}/sysinit.target.wants/${BOOT_GUARD##*/}"
}

decide() { # succeeds only for the first caller: the operator or the guard
    mkdir "$RUN/decided" 2>/dev/null
}

confirm() {
    decide || { echo 'the host was already undoing it' >&2; return 1; }
    mv "$RUN" "$RUN.confirmed"
    disarm
    empty_trash "$RUN.confirmed"
    rm -rf "$RUN.confirmed"
}

unconfirmed() {
    [ -n "${BOOTING:-}" ] || decide || return 0
    STEP=guard
    if rollback; then audit rolled-back; else audit half-undone; fi
    rm -rf "$RUN"
    disarm
}

keep_kernel_state() { # keep_kernel_state SNAPSHOT RESTORE: script files
    KEEP=$RUN/keep
    export KEEP
    sh -eu "$RUN/$1" && printf '%s\n' "sh -eu '$RUN/$2'" >>"$RUN/undo.kernel"
}
