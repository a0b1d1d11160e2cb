# Sysctl keys, units and commands.

set_sysctl() { # set_sysctl NAME VALUE
    knob=${ROOT:-}/proc/sys/$(echo "$1" | tr . /)
    before=$(cat "$knob") && undo_path "printf '%s\n' '$before' >'$knob'" && printf '%s\n' "$2" >"$knob"
}

reread_units() { # reread_units KEY STAMP
    : >"$RUN/reread"
    systemctl daemon-reload && keep_stamp "$1" "$2"
}

switch_unit() { # switch_unit enable|disable|stop UNIT
    remember_unit "$1" "$2" || return
    [ "$1" != enable ] || systemctl unmask --quiet "$2" 2>/dev/null || :
    systemctl --quiet "$1" "$2"
}

remember_unit() { # remember_unit VERB UNIT: once, before the first verb
    grep -q " '$2'\$" "$RUN/undo.units" 2>/dev/null && return 0
    state=$(systemctl is-active "$2" 2>/dev/null)
    enabled=$(systemctl is-enabled "$2" 2>/dev/null | head -n 1)
    case $state in
    active | activating) ;;
    reloading) state=active ;;
    *) state=inactive ;;
    esac
    undo_unit "back_to '$state' '${enabled:-unknown}' '$1' '$2'"
}

start_now() { # start_now UNIT STAMP: what `start` has become, for a unit that systemd brought up since the probe
    state=$(systemctl is-active "$1" 2>/dev/null)
    loaded=$(cat "$STATE/units/$1" 2>/dev/null)
    if [ "$loaded" = "$2" ]; then echo start; return; fi
    # A reload where it is enough: to restart the firewall opens it for a moment.
    case "$state ${loaded:-- }" in
    "active ${2%% *} "* | "reloading ${2%% *} "*) echo reload ;;
    active\ * | reloading\ * | activating\ *) echo restart ;;
    *) echo start ;;
    esac
}

load_unit() { # load_unit VERB UNIT STAMP TIMEOUT HEALTH [PORT...]
    verb=$1
    [ "$verb" != start ] || verb=$(start_now "$2" "$3")
    remember_unit "$verb" "$2" || return
    systemctl reset-failed "$2" 2>/dev/null || :
    systemctl unmask --quiet "$2" 2>/dev/null || :
    timeout "$4" systemctl "$verb" "$2" >"$RUN/said" 2>&1 || { code=$?; sed 's/^/@tail	/' "$RUN/said"; return $code; }
    unit=$2 stamp=$3 limit=$4 health=$5
    shift 5
    healthy "$unit" "$limit" "$health" "$@" && keep_stamp "$unit" "$stamp"
}

healthy() { # healthy UNIT TIMEOUT SCRIPT [PORT...]: up now, answering and on its ports before the time is over
    waiting_since=$(date +%s)
    deadline=$((waiting_since + $2))
    : >"$RUN/said"
    while :; do
        state=$(systemctl is-active "$1" 2>/dev/null)
        case $state in
        active)
            if answers "$@"; then return; fi
            ;;
        failed) STEP="$STEP (failed)"; return 1 ;;
        esac
        # systemd counts from the last start that was asked for.
        restarts=$(systemctl show -p NRestarts --value "$1" 2>/dev/null)
        if [ "${restarts:-0}" -ge 3 ]; then
            tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
            tell "@tail	it died $restarts times since it was started"
            return 1
        fi
        [ ! -s "$RUN/said" ] || say_what_is_awaited
        if [ "$(date +%s)" -ge "$deadline" ]; then
            tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
            tell "@tail	not healthy within $2 s (state: $state)"
            return 1
        fi
        sleep 0.2
    done
}

say_what_is_awaited() { # the last line of the health command, at first after three seconds, then every five
    now=$(date +%s)
    [ "$now" -ge $((waiting_since + 3)) ] || return 0
    tell "@step	$STEP: $(tail -n 1 "$RUN/said" | cut -c 1-300)"
    waiting_since=$((now + 2))
}

answers() { # answers UNIT TIMEOUT SCRIPT [PORT...]: now
    if [ -n "$3" ]; then
        timeout 10 sh -eu "$RUN/$3" >"$RUN/said" 2>&1 </dev/null || return
    elif [ $# = 3 ]; then
        # A program that dies of its configuration does so after systemd has called it active.
        sleep 0.3
        [ "$(systemctl is-active "$1")" = active ] || return
    fi
    [ $# != 3 ] || return 0
    unit=$1
    shift 3
    # Another program on the port would answer as well.
    owns "$unit" "$@" >"$RUN/said" 2>&1
}

run_command() { # run_command N TIMEOUT: n.run, its guard n.unless, perhaps n.undo; payload in payload.n
    # Long may have passed since the probe, with other hosts' work.
    ! sh -eu "$RUN/command.$1.unless" >/dev/null 2>&1 </dev/null || return 0
    PAYLOAD=$RUN/payload.$1
    export PAYLOAD
    if [ -f "$RUN/command.$1.undo" ]; then undo_command "sh -eu '$RUN/command.$1.undo' || :" || return; fi
    (exec 8>&- && cd / && timeout "$2" sh -eu "$RUN/command.$1.run") >"$RUN/said" 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 15 "$RUN/said" | sed 's/^/@tail	/'
        [ $code != 124 ] || tell "@tail	did not end within $2 s"
        return $code
    fi
    sh -eu "$RUN/command.$1.unless" >"$RUN/said" 2>&1 </dev/null || {
        tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
        tell "@tail	it ran without an error, and its guard still says that it is not done"
        return 1
    }
}
