# Packages: one apt transaction, during which no daemon starts.

hold_daemons() {
    [ -e "${ROOT:-}/usr/sbin/policy-rc.d" ] && return
    undo_path "rm -f '${ROOT:-}/usr/sbin/policy-rc.d'" &&
        printf '#!/bin/sh\n# plainstack: removed when the packages are in\nexit 101\n' >"${ROOT:-}/usr/sbin/policy-rc.d" &&
        chmod 755 "${ROOT:-}/usr/sbin/policy-rc.d"
}

release_daemons() {
    ! grep -q plainstack "${ROOT:-}/usr/sbin/policy-rc.d" || rm "${ROOT:-}/usr/sbin/policy-rc.d"
}

finish_dpkg() { # an earlier apt that was killed half way
    [ -z "$(dpkg --audit)" ] || quietly dpkg --configure -a --force-confold --force-confdef
}

refresh_lists() { # refresh_lists now|: at most once a day, or when a wanted package is not known
    [ "$1" = now ] || [ -z "$(find "${ROOT:-}/var/lib/apt/lists" -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null | head -n 1)" ] || return 0
    quietly apt-get update -q -o DPkg::Lock::Timeout=60
    code=$?
    # apt says 0 when a source could not be reached: what it said is the reason of a package that is not found later.
    complaints "$RUN/said" >"$RUN/unread"
    return $code
}

check() { # check SCRIPT: a validation of what apt is going to read
    sh -eu "$1" >"$RUN/said" 2>&1 </dev/null 8>&- && return
    code=$?
    tail -n 12 "$RUN/said" | sed 's/^/@tail	/'
    return $code
}

apt_install() { # all packages in one transaction
    apt-get install --simulate "$@" >/dev/null 2>&1 || refresh_lists now || :
    quietly apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=60 \
        -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@" && return
    code=$?
    [ ! -s "$RUN/unread" ] || sed 's/^/@tail	/' "$RUN/unread"
    return $code
}

apt_purge() {
    quietly apt-get purge -q -y -o DPkg::Lock::Timeout=60 "$@"
}

quietly() {
    deadline=$(($(date +%s) + 60))
    while :; do
        "$@" >"$RUN/said" 2>&1 </dev/null 8>&- && return
        code=$?
        # apt waits for dpkg's lock, not for those of its lists and archives; apt-daily.service has them at times.
        grep -q '^E: Could not get lock' "$RUN/said" && [ "$(date +%s)" -lt "$deadline" ] || break
        sleep 1
    done
    complaints "$RUN/said" >"$RUN/complaints"
    { grep . "$RUN/complaints" || tail -n 8 "$RUN/said"; } | sed 's/^/@tail	/'
    return $code
}

complaints() { # complaints FILE: errors and warnings of apt and dpkg; the reason of an Err: is indented below it
    awk '
        /^Err:/ { print; reason = 1; next }
        reason && /^ / { print; next }
        { reason = 0 }
        /^(E:|W:|N: Skipping|dpkg: error)/ { print }
    ' "$1" | tail -n 12
}
