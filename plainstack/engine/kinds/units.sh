# Units.

reread_units() { # reread_units KEY STAMP
    : >"$RUN/reread"
    systemctl daemon-reload && keep_stamp "$1" "$2"
}

NEWLINE='
'

# --- whether units start at boot ---

switch_units() { # switch_units enable|disable|unmask now|later UNIT...; later: this transaction rereads unit files after it
    verb=$1 reload=
    [ "$2" = now ] || reload=--no-reload
    shift 2
    : >"$RUN/reread" && note_boot_states "$@" || return
    case $NEWLINE$BOOT_STATES$NEWLINE in
    *"${NEWLINE}masked$NEWLINE"*)
        # A unit that is masked until the next boot stays masked: an administrator did that. It may be enabled or not.
        systemctl --quiet --no-reload unmask "$@" && note_boot_states "$@" || return
        ;;
    esac
    if [ "$verb" = disable ]; then
        # Purging a package removed its units.
        set -- $(known_units "$@")
        [ $# != 0 ] || return 0
    fi
    if [ "$verb" != unmask ]; then
        systemctl --quiet $reload "$verb" "$@"
    elif [ -z "$reload" ]; then
        systemctl daemon-reload
    fi
}

known_units() { # known_units UNIT...: those that systemd has a file of; after note_boot_states UNIT...
    printf '%s\n' "$BOOT_STATES" | while IFS= read -r state && [ $# != 0 ]; do
        [ "$state" = not-found ] || printf '%s\n' "$1"
        shift
    done
}

note_boot_states() { # note_boot_states UNIT...
    BOOT_STATES=$(systemctl is-enabled "$@" 2>/dev/null)
    printf '%s\n' "$BOOT_STATES" | {
        while IFS= read -r state && [ $# != 0 ]; do
            undo_path "boot_state_back '$state' '$1'" || return
            shift
        done
        [ $# = 0 ] || { echo "systemd does not say whether $1 is enabled" >&2; return 1; }
    }
}

boot_state_back() { # boot_state_back STATE UNIT: unit files are read again after all of this
    case $1 in
    enabled) systemctl --quiet --no-reload enable "$2" ;;
    enabled-runtime) systemctl --quiet --no-reload --runtime enable "$2" ;;
    masked) systemctl --quiet --no-reload mask "$2" ;;
    disabled | not-found | '') systemctl --quiet --no-reload disable "$2" ;;
    esac 2>/dev/null || :
}

# --- whether units run, with what they have read ---

stop_unit() {
    note_unit "$(systemctl is-active "$1" 2>/dev/null)" stop "$1" && systemctl --quiet stop "$1"
}

stop_others() { # stop_others UNIT...: names or patterns; none of them need be loaded
    systemctl --quiet stop "$@" 2>/dev/null || :
    systemctl reset-failed "$@" 2>/dev/null || :
}

note_unit() { # note_unit STATE VERB UNIT: once, before its first verb
    case " $NOTED " in *" $3 "*) return ;; esac
    NOTED="$NOTED $3"
    case $1 in
    active | activating) undo_unit "back_to $1 $2 '$3'" ;;
    reloading) undo_unit "back_to active $2 '$3'" ;;
    *) undo_unit "back_to inactive $2 '$3'" ;;
    esac
}
NOTED=

start_now() { # start_now STATE UNIT STAMP: what `start` has become, for a unit that systemd brought up since the probe
    loaded=
    [ ! -f "$STATE/units/$2" ] || read -r loaded <"$STATE/units/$2"
    if [ "$loaded" = "$3" ]; then echo start; return; fi
    # Prefer a reload: restarting the firewall would open it for a moment.
    case "$1 ${loaded:-- }" in
    "active ${3%% *} "* | "reloading ${3%% *} "*) echo reload ;;
    active\ * | reloading\ * | activating\ *) echo restart ;;
    *) echo start ;;
    esac
}

load_unit() { # load_unit VERB UNIT STAMP TIMEOUT HEALTH [PORT...]
    bring_up "$1" "$2" "$3" "$4" || return
    unit=$2 stamp=$3 limit=$4 health=$5
    shift 5
    healthy "$unit" "$limit" "$health" "$@" && keep_stamp "$unit" "$stamp"
}

load_units() { # load_units (VERB UNIT STAMP TIMEOUT)...: units that are well when they stay up
    bring_up "$@" && stay_up "$@"
}

bring_up() { # bring_up (VERB UNIT STAMP TIMEOUT)...: one after another
    units=$(units_of "$@")
    states=$(systemctl is-active $units 2>/dev/null)
    case $states in *failed* | *activating*) systemctl reset-failed $units 2>/dev/null || : ;; esac
    while [ $# != 0 ]; do
        state=${states%%"$NEWLINE"*} states=${states#*"$NEWLINE"} verb=$1
        [ "$verb" != start ] || verb=$(start_now "$state" "$2" "$3")
        announce "$units" "$1" "$2"
        note_unit "$state" "$verb" "$2" || return
        load "$4" "$verb" "$2" || { code=$?; sed 's/^/@tail	/' "$RUN/said"; return $code; }
        shift 4
    done
}

load() { # load TIMEOUT VERB UNIT: once more if systemd refused it only because of how often the unit was started lately
    timeout "$1" systemctl "$2" "$3" >"$RUN/said" 2>&1 && return
    code=$?
    [ "$(systemctl show -p Result --value "$3" 2>/dev/null)" = start-limit-hit ] || return $code
    systemctl reset-failed "$3" && timeout "$1" systemctl "$2" "$3" >"$RUN/said" 2>&1
}

stay_up() { # stay_up (VERB UNIT STAMP TIMEOUT)...
    units=$(units_of "$@")
    # A program with a bad configuration ends only after systemd has reported it active.
    for unit in $units; do
        case $unit in *.timer | *.socket | *.path | *.mount | *.target) ;; *) look_in_pause; sleep 0.3; break ;; esac
    done
    states=$(systemctl is-active $units 2>/dev/null)
    mkdir -p "$RUN/stamps" || return
    stamped=
    while [ $# != 0 ]; do
        state=${states%%"$NEWLINE"*} states=${states#*"$NEWLINE"} STEP="$1 $2" UNIT=$2
        [ "$state" = active ] || healthy "$2" "$4" '' || return
        note_stamp "$2" || return
        if [ -n "$3" ]; then
            printf '%s\n' "$3" >"$RUN/stamps/$2" || return
            stamped=yes
        elif [ -e "$STATE/units/$2" ]; then
            rm -f "$STATE/units/$2"
        fi
        shift 4
    done
    [ -z "$stamped" ] || mv -t "$STATE/units" "$RUN"/stamps/*
}

units_of() { # units_of (VERB UNIT STAMP TIMEOUT)...
    while [ $# != 0 ]; do printf '%s ' "$2"; shift 4; done
}

announce() { # announce UNITS VERB UNIT: which of several it is
    STEP="$2 $3" UNIT=$3
    [ "$1" = "$3 " ] || emit "@step	$STEP"
}

healthy() { # healthy UNIT TIMEOUT SCRIPT [PORT...]: up now, answering and on its ports before the time is over
    waiting_since=$(date +%s)
    deadline=$((waiting_since + $2))
    : >"$RUN/said"
    while :; do
        state=$(systemctl is-active "$1" 2>/dev/null)
        case $state in
        active)
            code=0
            answers "$@" || code=$?
            case $code in
            0) return ;;
            78)
                tail_of "$RUN/said" 5
                emit "@tail	this does not change by waiting"
                return 1
                ;;
            esac
            ;;
        failed) STEP="$STEP (failed)"; return 1 ;;
        esac
        # systemd resets this counter with each requested start.
        restarts=$(systemctl show -p NRestarts --value "$1" 2>/dev/null)
        if [ "${restarts:-0}" -ge 3 ]; then
            tail_of "$RUN/said" 5
            emit "@tail	it died $restarts times since it was started"
            return 1
        fi
        [ ! -s "$RUN/said" ] || say_what_is_awaited
        if [ "$(date +%s)" -ge "$deadline" ]; then
            tail_of "$RUN/said" 5
            emit "@tail	not healthy within $2 s (state: $state)"
            return 1
        fi
        sleep 0.2
    done
}

say_what_is_awaited() { # the last line of the health command, at first after three seconds, then every five
    now=$(date +%s)
    [ "$now" -ge $((waiting_since + 3)) ] || return 0
    emit "@step	$STEP: $(tail -n 1 "$RUN/said" | cut -c 1-300)"
    waiting_since=$((now + 2))
}

answers() { # answers UNIT TIMEOUT SCRIPT [PORT...]: now
    if [ -n "$3" ]; then
        timeout 10 sh -eu "$RUN/$3" >"$RUN/said" 2>&1 </dev/null || return
    elif [ $# = 3 ]; then
        # A program with a bad configuration ends only after systemd has reported it active.
        sleep 0.3
        [ "$(systemctl is-active "$1")" = active ] || return
    fi
    [ $# != 3 ] || return 0
    unit=$1
    shift 3
    # The health command may have been answered by another program on the port.
    owns "$unit" "$@" >"$RUN/said" 2>&1
}
