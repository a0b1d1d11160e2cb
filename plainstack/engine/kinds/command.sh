# Commands.

run_command() { # run_command N TIMEOUT: n.run, its guard n.unless, perhaps n.undo; payload in payload.n
    # The probe may be minutes old: other hosts had their turn since.
    ! sh -eu "$RUN/command.$1.unless" >/dev/null 2>&1 </dev/null || return 0
    PAYLOAD=$RUN/payload.$1
    WARNINGS=$RUN/warnings
    export PAYLOAD WARNINGS
    rm -f "$WARNINGS"
    if [ -f "$RUN/command.$1.undo" ]; then undo_command "sh -eu '$RUN/command.$1.undo' || :" || return; fi
    (exec 8>&- && cd / && timeout "$2" sh -eu "$RUN/command.$1.run") >"$RUN/said" 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 15 "$RUN/said" | sed 's/^/@tail	/'
        [ $code != 124 ] || emit "@tail	did not finish within $2 s"
        return $code
    fi
    sh -eu "$RUN/command.$1.unless" >"$RUN/said" 2>&1 </dev/null || {
        tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
        emit "@tail	it ran without an error, but its guard still reports that it is not done"
        return 1
    }
    [ ! -s "$WARNINGS" ] || sed 's/^/@warning	/' "$WARNINGS"
}
