# Commands.

# A command may take minutes: show the last line of its output, once a second if there is another one. Progress bars end
# their lines with a carriage return. `sleep` must not keep the connection open when it outlives this function.
follow() { # follow UNTIL: the time at which the command ends at the latest
    shown=
    while sleep 1 >/dev/null && kill -0 $$; do
        line=$(tail -c 1000 "$SAID" | tr '\r\t' '\n ' | tr -d '\000-\011\013-\037\177' | grep -v '^ *$' | tail -n 1 |
            cut -c 1-200)
        [ "$line" = "$shown" ] || { emit "@progress	$line" && at_work "$1" "$line"; }
        shown=$line
    done
}

run_command() { # run_command N TIMEOUT [follow]: n.run, its guard n.unless, perhaps n.undo; payload in payload.n
    # The probe may be minutes old: other hosts had their turn since.
    ! sh -eu "$RUN/command.$1.unless" >/dev/null 2>&1 </dev/null || return 0
    PAYLOAD=$RUN/payload.$1
    WARNINGS=$RUN/warnings
    SAID=$RUN/said
    export PAYLOAD WARNINGS SAID
    rm -f "$WARNINGS"
    if [ -f "$RUN/command.$1.undo" ]; then undo_command "sh -eu '$RUN/command.$1.undo' || :" || return; fi
    : >"$SAID"
    follower=
    until=$(($(date +%s) + $2))
    at_work "$until"
    [ $# -lt 3 ] || { follow "$until" 2>/dev/null 8>&- & follower=$!; }
    (exec 8>&- && cd / && timeout "$2" sh -eu "$RUN/command.$1.run") >>"$SAID" 2>&1 </dev/null
    code=$?
    # The shell reports a job that was killed.
    [ -z "$follower" ] || { kill "$follower"; wait "$follower"; } 2>/dev/null || :
    if [ $code != 0 ]; then
        tail_of "$RUN/said" 15
        [ $code != 124 ] || emit "@tail	did not finish within $2 s"
        return $code
    fi
    sh -eu "$RUN/command.$1.unless" >"$RUN/said" 2>&1 </dev/null || {
        tail_of "$RUN/said" 5
        emit "@tail	it ran without an error, but its guard still reports that it is not done"
        return 1
    }
    [ ! -s "$WARNINGS" ] || sed 's/^/@warning	/' "$WARNINGS"
}
