# Kernel parameters.

set_sysctl() { # set_sysctl NAME VALUE
    knob=${ROOT:-}/proc/sys/$(echo "$1" | tr . /)
    before=$(cat "$knob") && undo_path "printf '%s\n' '$before' >'$knob'" && printf '%s\n' "$2" >"$knob"
}
