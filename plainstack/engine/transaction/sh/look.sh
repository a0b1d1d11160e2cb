# The probe at the end of a transaction. It reads the resources while the last pause shows whether units stay up, and what
# Plainstack keeps on the host after the transaction has ended.

look_in_pause() {
    [ -n "${LOOK_IN_PAUSE:-}" ] || return 0
    # Without the lock: a transaction that fails meanwhile does not wait for it.
    (eval "$(cat "$RUN/probe.kept")" && eval "$(cat "$RUN/probe.resources")" >"$RUN/seen") >/dev/null 2>&1 8>&- &
    LOOKING=$!
}

read_probe() { # while RUN is there
    KEPT=$(cat "$RUN/probe.kept") RESOURCES=$(cat "$RUN/probe.resources") SEEN=
    [ -z "${LOOKING:-}" ] || { wait "$LOOKING" || :; SEEN=$(cat "$RUN/seen"); }
}

look_again() {
    eval "$KEPT"
    case $SEEN in
    *"${NEWLINE}end") printf '%s\n' "$SEEN" ;;
    *) eval "$RESOURCES" ;; # not seen in a pause, or not to the end
    esac
}
