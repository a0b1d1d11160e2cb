# Undo: files first, then what systemd and units make of them.

# What is noted here is noted before it is done: what a full disk keeps from being noted is not done.
undo_path() { printf '%s\n' "$1" >>"$RUN/undo.paths"; }
undo_unit() { printf '%s\n' "$1" >>"$RUN/undo.units"; }
undo_command() { printf '%s\n' "$1" >>"$RUN/undo.commands"; }
undo_account() { printf '%s\n' "$1" >>"$RUN/undo.accounts"; }

rollback() { # 0 when all of it was put back
    tell "@step	undo"
    ALL_BACK=yes
    undo "$(noted commands | last_first)"
    undo "$(noted paths | last_first)"
    [ ! -e "$RUN/reread" ] || systemctl daemon-reload
    undo "$(noted units)"
    # An account goes when no unit runs as it any more.
    undo "$(noted accounts | last_first)"
    if [ -z "${BOOTING:-}" ]; then KEEP=$RUN/keep; export KEEP; undo "$(noted kernel)"; fi
    next_generation undone
    [ $ALL_BACK = yes ]
}

noted() { # without a last line that a full disk cut short
    [ ! -f "$RUN/undo.$1" ] || while IFS= read -r line; do printf '%s\n' "$line"; done <"$RUN/undo.$1"
}

last_first() { sed '1!G;h;$!d'; } # tac would want a temporary file, and the disk may be full

undo() { # undo LINES: one that fails is told, and keeps no other from being done
    while IFS= read -r line; do
        said=$(eval "$line" 2>&1 </dev/null) || {
            ALL_BACK=no
            tell "$said" | sed 's/^/@tail	/'
        }
    done <<LINES
$1
LINES
}

back_to() { # back_to active|activating|inactive enabled|... VERB UNIT: what a unit was before this transaction touched it
    systemctl reset-failed "$4" 2>/dev/null || :
    if [ -n "${BOOTING:-}" ]; then
        : # it starts, or does not, in its turn
    elif [ "$1" = active ]; then
        if [ "$3" = reload ]; then systemctl reload "$4" || systemctl restart "$4"; else systemctl restart "$4"; fi || {
            echo "$4 does not come back with its previous configuration either"
            return 1
        }
    elif [ "$1" = activating ]; then
        systemctl --no-block restart "$4" # as it was: on its way up, which it may never be
    else
        systemctl stop "$4" 2>/dev/null || :
    fi
    case $2 in
    enabled) systemctl enable --quiet "$4" ;;
    disabled | not-found | unknown) systemctl disable --quiet "$4" ;;
    masked) systemctl mask --quiet "$4" ;;
    esac 2>/dev/null
    return 0
}
