# Undo: files first, then systemd and the units that read them.

# Each undo step is recorded before its change is made. If a full disk prevents the record, the change is not made.
undo_path() { printf '%s\n' "$1" >>"$RUN/undo.paths"; }
undo_unit() { printf '%s\n' "$1" >>"$RUN/undo.units"; }
undo_command() { printf '%s\n' "$1" >>"$RUN/undo.commands"; }
undo_account() { printf '%s\n' "$1" >>"$RUN/undo.accounts"; }

rollback() { # returns 0 if everything was restored
    emit "@step	undo"
    ALL_BACK=yes
    undo "$(noted commands | last_first)"
    undo "$(noted paths | last_first)"
    [ ! -e "$RUN/reread" ] || systemctl daemon-reload
    undo "$(noted units)"
    # Accounts come last: by now no unit runs as them.
    undo "$(noted accounts | last_first)"
    if [ -z "${BOOTING:-}" ]; then KEEP=$RUN/keep; export KEEP; undo "$(noted kernel)"; fi
    next_generation undone
    [ $ALL_BACK = yes ]
}

noted() { # without a last line that a full disk cut short
    [ ! -f "$RUN/undo.$1" ] || while IFS= read -r line; do printf '%s\n' "$line"; done <"$RUN/undo.$1"
}

last_first() { sed '1!G;h;$!d'; } # tac needs a temporary file, and the disk may be full

undo() { # undo LINES: report a line that fails, and run the others
    while IFS= read -r line; do
        said=$(eval "$line" 2>&1 </dev/null) || {
            ALL_BACK=no
            emit "$said" | sed 's/^/@tail	/'
        }
    done <<LINES
$1
LINES
}

back_to() { # back_to active|activating|inactive VERB UNIT: what a unit was before this transaction touched it
    systemctl reset-failed "$3" 2>/dev/null || :
    if [ -n "${BOOTING:-}" ]; then
        : # systemd starts it later in this boot, if it is enabled
    elif [ "$1" = active ]; then
        if [ "$2" = reload ]; then systemctl reload "$3" || systemctl restart "$3"; else systemctl restart "$3"; fi || {
            echo "$3 does not start with its previous configuration either"
            return 1
        }
    elif [ "$1" = activating ]; then
        systemctl --no-block restart "$3" # it was starting before; it may never have become active
    else
        systemctl stop "$3" 2>/dev/null || :
    fi
}
