# Accounts.

create_user() { # create_user NAME HOME SHELL GROUPS
    undo_account "[ -z \"\$(getent passwd '$1')\" ] || userdel '$1'" &&
        useradd --system --user-group --home-dir "$2" --no-create-home --shell "$3" ${4:+--groups "$4"} "$1"
}

change_user() {
    undo_path "usermod $(user_now "$1") '$1'" && usermod --home "$2" --shell "$3" ${4:+--append --groups "$4"} "$1"
}

user_now() { # the options that make an account what it is now
    getent passwd "$1" | { IFS=: read -r _ _ _ _ _ home shell && printf "%s" "--home '$home' --shell '$shell'"; }
    printf " --groups '%s'" "$(id -nG "$1" | tr ' ' '\n' | grep -vx "$1" | paste -sd ,)"
}

remove_user() { # its undo brings it back under its number, which files may have
    uid=$(id -u "$1")
    group=$(id -gn "$1")
    gid=$(id -g "$1")
    kept=$(file_of -uid "$uid" -o -gid "$gid")
    if [ -n "$kept" ]; then
        # An account created later could get this number, and with it these files.
        emit "@note	the account $1 stays, without a way to log in: it owns what Plainstack did not create, such as $kept"
        undo_path "usermod $(user_now "$1") '$1'" && note_made "user $1" && usermod --shell /usr/sbin/nologin "$1"
        return
    fi
    again="useradd --system --no-create-home --uid $uid --gid '$group' $(user_now "$1") '$1'"
    # userdel may refuse, and then there is nothing to bring back.
    group_again="[ -n \"\$(getent group '$group')\" ] || groupadd --system --gid $gid '$group'"
    undo_path "$group_again; [ -n \"\$(getent passwd '$1')\" ] || $again" &&
        { userdel "$1" || still_runs "$1" "$uid"; }
}

still_runs() { # still_runs ACCOUNT UID: report what keeps an account from being removed; fails
    for each in $(find /proc -maxdepth 1 -uid "$2" -name '[1-9]*' 2>/dev/null | head -n 5); do
        echo "${each#/proc/} runs as $1: $(tr '\0' ' ' 2>/dev/null <"$each/cmdline" | cut -c 1-120)" >&2
    done
    echo "deploy again when nothing runs as $1 any more" >&2
    return 1
}

file_of() { # file_of TEST...: one file on a local disk that find takes, but for what runs remove and keep for their undo
    if [ -n "${ROOT:-}" ]; then echo "$ROOT"; else df --local --portability | awk 'NR > 1 { print $6 }'; fi | while read -r disk; do
        find "$disk" -xdev \( -name "*$ASIDE" -o -path "$STATE/runs" \) -prune -o \( "$@" \) -print -quit 2>/dev/null
    done | head -n 1
}
