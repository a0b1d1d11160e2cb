# The last transaction of a teardown, after the roles are gone. What is removed here is not brought back by an undo: the
# next run continues.

remove_packages() { # remove_packages purge|remove OURS PACKAGE...: those that nothing else needs; OURS is what may go
    verb=$1 ours=$2
    shift 2
    set -- $(still_there "$verb" "$@")
    [ $# != 0 ] || return 0
    simulate_apt "$verb" "$@" || { quietly apt-get "$verb" --simulate -q "$@"; return; }
    if [ -n "$(not_ours "$ours")" ]; then
        needed=
        for package in "$@"; do
            simulate_apt "$verb" "$package" || return
            users=$(not_ours "$ours")
            [ -z "$users" ] || { needed="$needed $package"; emit "@note	$package stays, because $users needs it"; }
        done
        set -- $(printf '%s\n' "$@" | grep -vxF "$(printf '%s\n' $needed)")
        [ $# != 0 ] || return 0
        simulate_apt "$verb" "$@" && removes_only "$ours" || return
    fi
    quietly apt-get "$verb" -q -y -o DPkg::Lock::Timeout=0 "$@"
}

still_there() { # still_there purge|remove PACKAGE...: also those of which only the configuration is left, for a purge
    dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n '/^not-installed /!p' |
        if [ "$1" = purge ]; then cat; else sed '/^config-files /d'; fi | sed 's/^[^ ]* //' |
        { shift; printf '%s\n' "$@" >"$RUN/asked"; grep -xFf "$RUN/asked"; }
}

not_ours() { # not_ours PACKAGES: what the simulated apt removes and is not among them
    for package in $(sed -n 's/^\(Remv\|Purg\) \([^ ]*\).*/\2/p' "$RUN/simulated"); do
        case " $1 " in *" ${package%:*} "*) ;; *) printf '%s ' "$package" ;; esac
    done | sed 's/ $//'
}

delete_tree() { # delete_tree PATH: a mount point stays, empty
    rm -rf "${ROOT:-}$1" 2>"$RUN/said" || [ -z "$(find "${ROOT:-}$1" ! -type d -print -quit 2>/dev/null)" ] ||
        { cat "$RUN/said" >&2; return 1; }
}

remove_accounts() { # those of the record that own no files; the removal of a role may just have added some
    [ -f "$STATE/made/list" ] || return 0
    set -- "$(sed -n 's/^user //p' "$STATE/made/list" | sort -u)" "$(sed -n 's/^group //p' "$STATE/made/list" | sort -u)"
    look_for_owners $(for u in $1; do getent passwd "$u" | cut -d : -f 3; done) - \
        $({ for g in $2; do getent group "$g" | cut -d : -f 3; done; for u in $1; do getent passwd "$u" | cut -d : -f 4; done; } | sort -u)
    for name in $1; do
        entry=$(getent passwd "$name" | cut -d : -f 3,4) || :
        [ -n "$entry" ] || continue
        kept=$(owned user "${entry%:*}")
        [ -n "$kept" ] || kept=$(owned group "${entry#*:}")
        if [ -n "$kept" ]; then emit "@note	the account $name stays: it owns $kept"; continue; fi
        quietly userdel "$name" || return
    done
    for name in $2; do
        gid=$(getent group "$name" | cut -d : -f 3) || :
        [ -n "$gid" ] || continue
        [ -z "$(owned group "$gid")" ] || continue
        # The group of an account stays with it: the package that made the account does not make it a member again.
        [ -z "$(getent group "$name" | cut -d : -f 4)" ] || continue
        [ -z "$(awk -F : -v gid="$gid" '$4 == gid { print; exit }' "${ROOT:-}/etc/passwd")" ] || continue
        quietly groupdel "$name" || return
    done
}

look_for_owners() { # look_for_owners UID... - GID...: one file of each, from one search of the disks
    tests= option=-uid
    for number in "$@"; do
        if [ "$number" = - ]; then option=-gid; continue; fi
        tests="$tests${tests:+ -o }$option $number"
    done
    : >"$RUN/owners"
    [ -n "$tests" ] || return 0
    if [ -n "${ROOT:-}" ]; then echo "$ROOT"; else disks; fi | while read -r disk; do
        find "$disk" -xdev \( $tests \) -printf 'user %U %p\ngroup %G %p\n' 2>/dev/null
    done | awk '!seen[$1 " " $2]++' >"$RUN/owners"
}

disks() { # what a reboot empties does not count
    df --local --portability --exclude-type=tmpfs --exclude-type=devtmpfs | awk 'NR > 1 { print $6 }'
}

owned() { # owned user|group NUMBER: a file of theirs
    sed -n "s/^$1 $2 //p" "$RUN/owners" | head -n 1
}

restore_originals() { # files that a package or a role removed, and that were there before Plainstack
    [ -d "$STATE/before" ] || return 0
    (cd "$STATE/before" && find . ! -type d) | while IFS= read -r path; do
        real=${ROOT:-}/${path#./}
        [ -e "$real" ] || [ -L "$real" ] || [ ! -d "${real%/*}" ] || cp -a "$STATE/before/${path#./}" "$real" || exit
    done
}

remove_folders() { # remove_folders PATH...: those that are empty
    for path in "$@"; do
        [ ! -d "${ROOT:-}$path" ] || rmdir "${ROOT:-}$path" 2>/dev/null || :
    done
    rm -f "${ROOT:-}"/var/lib/systemd/timers/stamp-plainstack-*
}

forget_host() { # forget_host yes|no PATH...: with yes, also the data of Plainstack itself; PATHs are data that stays
    whole=$1
    shift
    [ $# = 0 ] || { mkdir -p "$STATE/made" && printf 'data %s\n' "$@" >>"$STATE/made/list"; }
    rm -rf "$STATE/units" "$STATE/before" "$STATE/runs" "$STATE/generation" "$STATE/made/present" "$STATE/made/complete"
    still_made >"$STATE/made.part" 2>/dev/null
    rm -rf "$STATE/made"
    if [ -s "$STATE/made.part" ]; then
        # A later run needs it, to remove these with their data.
        mkdir -p "$STATE/made" && mv "$STATE/made.part" "$STATE/made/list"
    fi
    rm -rf "$STATE/made.part" "$STATE/manifest" "${ROOT:-}/run/plainstack"
    [ "$whole" = no ] || rm -rf "$STATE" "${ROOT:-}/var/log/plainstack"
    rmdir "$STATE" 2>/dev/null || :
}

still_made() {
    [ -f "$STATE/made/list" ] || return 0
    sort -u "$STATE/made/list" | while IFS=' ' read -r what name; do
        case $what in
        package) case $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) in '' | not-installed) continue ;; esac ;;
        user) [ -n "$(getent passwd "$name")" ] || continue ;;
        group) [ -n "$(getent group "$name")" ] || continue ;;
        folder | data) [ -d "${ROOT:-}$name" ] || continue ;;
        esac
        printf '%s %s\n' "$what" "$name"
    done
}
