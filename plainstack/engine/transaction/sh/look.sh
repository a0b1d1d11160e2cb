# The probe at the end of a transaction. It reads the resources during the last pause, which shows whether units stay up.
# It reads Plainstack's own state on the host after the transaction has ended.

look_in_pause() {
    [ -n "${LOOK_IN_PAUSE:-}" ] || return 0
    # Close the lock's descriptor: if the transaction fails meanwhile, it ends without waiting for this process.
    (. "$RUN/probe.resources") >"$RUN/seen" 2>/dev/null 8>&- &
    LOOKING=$!
}

read_probe() { # before RUN is deleted
    KEPT=$(cat "$RUN/probe.kept") SEEN=
    [ -z "${LOOKING:-}" ] || { wait "$LOOKING" || :; SEEN=$(cat "$RUN/seen"); }
    case $SEEN in
    *"${NEWLINE}end") ;;
    *) SEEN= RESOURCES=$(cat "$RUN/probe.resources") ;; # there was no pause, or it was too short
    esac
}

look_again() {
    eval "$KEPT"
    if [ -n "$SEEN" ]; then printf '%s\n' "$SEEN"; else eval "$RESOURCES"; fi
}
