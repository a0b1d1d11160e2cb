# The probe at the end of a transaction. It reads the resources while the last pause shows whether units stay up, and what
# Plainstack keeps on the host after the transaction has ended.

look_in_pause() {
    [ -n "${LOOK_IN_PAUSE:-}" ] || return 0
    # Without the lock: a transaction that fails meanwhile does not wait for it.
    (. "$RUN/probe.resources") >"$RUN/seen" 2>/dev/null 8>&- &
    LOOKING=$!
}

read_probe() { # while RUN is there
    KEPT=$(cat "$RUN/probe.kept") SEEN=
    [ -z "${LOOKING:-}" ] || { wait "$LOOKING" || :; SEEN=$(cat "$RUN/seen"); }
    case $SEEN in
    *"${NEWLINE}end") ;;
    *) SEEN= RESOURCES=$(cat "$RUN/probe.resources") ;; # not read in a pause, or not to the end
    esac
}

look_again() {
    eval "$KEPT"
    if [ -n "$SEEN" ]; then printf '%s\n' "$SEEN"; else eval "$RESOURCES"; fi
}
