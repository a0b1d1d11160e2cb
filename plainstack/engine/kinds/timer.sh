# Timers: what systemd starts at set times.

TIMERS=/etc/systemd/system

set_timer() { # set_timer N NAME STAMP
    : >"$RUN/reread" && forget_stamp "$2" && put "$1" "$TIMERS/$2" 0644 root root && note_boot_states "$2" &&
        systemctl --quiet --no-reload enable "$2" && systemctl daemon-reload &&
        note_unit "$(systemctl is-active "$2" 2>/dev/null)" restart "$2" && systemctl restart "$2" && keep_stamp "$2" "$3"
}

remove_timer() { # remove_timer N NAME
    : >"$RUN/reread" && stop_unit "$2" && note_boot_states "$2" && systemctl --quiet --no-reload disable "$2" &&
        remove_path "$1" "$TIMERS/$2" && forget_stamp "$2" && systemctl daemon-reload
}
