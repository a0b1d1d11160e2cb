# Groups.

create_group() {
    undo_account "[ -z \"\$(getent group '$1')\" ] || groupdel '$1'" && groupadd --system "$1"
}

set_members() { # set_members NAME MEMBER,...
    was=$(getent group "$1") && undo_path "gpasswd --members '${was##*:}' '$1'" && gpasswd --members "$2" "$1"
}

remove_group() { # its undo brings it back under its number, which files may have
    was=$(getent group "$1")
    numbers=${was#*:*:}
    gid=${numbers%%:*}
    kept=$(awk -F : -v gid="$gid" '$4 == gid { print "the account " $1; exit }' "${ROOT:-}/etc/passwd")
    kept=${kept:-$(file_of -gid "$gid")}
    if [ -n "$kept" ]; then
        # A group created later could get this number, and with it these files.
        emit "@note	the group $1 stays: it owns what Plainstack did not create, such as $kept"
        note_made "group $1"
        return
    fi
    undo_path "groupadd --system --gid $gid '$1' && gpasswd --members '${was##*:}' '$1'" && groupdel "$1"
}
