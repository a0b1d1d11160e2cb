# Which process listens on a port, from /proc alone: a bare host has no ss. Ports are four hexadecimal digits, as in
# /proc/net/tcp.

holders() { # holders PORT...: one `protocol<TAB>address:port<TAB>pid<TAB>process<TAB>cgroup` a line
    proc=${ROOT:-}/proc tables=
    for table in tcp tcp6 udp udp6; do
        [ ! -r "$proc/net/$table" ] || tables="$tables $proc/net/$table"
    done
    [ -n "$tables" ] || return 0
    # shellcheck disable=SC2086
    waiting=$(awk -v ports=" $* " '
        FNR == 1 { protocol = FILENAME; sub(/.*\//, "", protocol); next }
        # The kernel lists listening TCP sockets first.
        protocol ~ /^tcp/ && $4 != "0A" { nextfile }
        protocol ~ /^udp/ && $4 != "07" { next }
        { port = $2; sub(/.*:/, "", port) }
        index(ports, " " port " ") { print protocol, $2, $10 }' $tables)
    [ -n "$waiting" ] || return 0
    {
        printf '%s\n' "$waiting"
        find "$proc"/[0-9]*/fd -lname 'socket:*' -printf '%h %l\n' 2>/dev/null
    } | awk -v proc="$proc/" '
        NF == 3 { held["socket:[" $3 "]"] = $1 "\t" $2; next }
        $2 in held {
            pid = substr($1, length(proc) + 1)
            sub(/\/fd$/, "", pid)
            # A server and its workers share a socket, so the first process found stands for all.
            if (!known[$2]++) print held[$2] "\t" pid
        }
        END { for (socket in held) if (!(socket in known)) print held[socket] "\t-" }' |
        while read -r protocol address pid; do
            process= cgroup=
            { read -r process <"$proc/$pid/comm"; } 2>/dev/null
            # Use the last line: on a host with both cgroup versions, it is version 2 or systemd's own hierarchy.
            { while IFS= read -r line; do case $line in *.service* | *.scope*) cgroup=${line##*:} ;; esac; done <"$proc/$pid/cgroup"; } 2>/dev/null
            printf '%s\t%s\t%s\t%s\t%s\n' "$protocol" "$address" "$pid" "$process" "$cgroup"
        done
}

owns() { # owns UNIT PORT...: whether processes of that unit listen on each port; if not, print which process does
    owner=$1
    shift
    found=$(holders "$@")
    for wanted in "$@"; do
        here=$(printf '%s\n' "$found" | grep ":$wanted	") || {
            echo "$owner does not listen on port $((0x$wanted))"
            return 1
        }
        printf '%s\n' "$here" | grep -qF "/$owner" || {
            printf '%s\n' "$here" | while IFS='	' read -r _ _ pid process _; do
                echo "port $((0x$wanted)) is held by $process (process $pid), not by $owner"
            done
            return 1
        }
    done
}
