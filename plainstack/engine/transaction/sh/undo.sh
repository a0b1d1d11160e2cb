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

back_to() { # back_to active|activating|inactive VERB UNIT: what a unit was before this transaction touched it
    systemctl reset-failed "$3" 2>/dev/null || :
    if [ -n "${BOOTING:-}" ]; then
        : # it starts, or does not, in its turn
    elif [ "$1" = active ]; then
        if [ "$2" = reload ]; then systemctl reload "$3" || systemctl restart "$3"; else systemctl restart "$3"; fi || {
            echo "$3 does not come back with its previous configuration either"
            return 1
        }
    elif [ "$1" = activating ]; then
        systemctl --no-block restart "$3" # as it was: on its way up, which it may never be
    else
        systemctl stop "$3" 2>/dev/null || :
    fi
}
