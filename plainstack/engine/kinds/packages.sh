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
    quietly apt-get update -q -o DPkg::Lock::Timeout=0
    code=$?
    # apt exits with 0 when it cannot reach a source, so keep its output: it explains a package that is not found later.
    complaints "$RUN/said" >"$RUN/unread"
    return $code
}

check() { # check SCRIPT: a validation of what apt is going to read
    sh -eu "$1" >"$RUN/said" 2>&1 </dev/null 8>&- && return
    code=$?
    tail_of "$RUN/said" 12
    return $code
}

apt_install() { # apt_install CONSENTED PACKAGE...: all in one transaction; apt may remove what is in CONSENTED
    consented=$1
    shift
    if [ -n "$consented" ]; then
        simulate_apt install "$@" || { refresh_lists now && simulate_apt install "$@"; } || :
        removes_only "$consented" || return
        install_now "$@" && return
        code=$?
    else
        # apt itself refuses to remove anything. A simulation costs about as much as the installation, so it only
        # explains a failure.
        install_now --no-remove "$@" && return
        code=$?
        simulate_apt install "$@" || {
            refresh_lists now || :
            install_now --no-remove "$@" && return
            code=$?
            simulate_apt install "$@" || :
        }
        removes_only '' || return
    fi
    complain
    [ ! -s "$RUN/unread" ] || sed 's/^/@tail	/' "$RUN/unread"
    return $code
}

install_now() {
    note_present && attempt_install "$@" && record_installed && return
    code=$?
    record_installed || :
    return $code
}

present() { # the packages, accounts and groups of this host, one a line
    dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n '/^\(not-installed\|config-files\) /!s/^[^ ]* /package /p'
    sed -n 's/^\([^:]*\):.*/user \1/p' "${ROOT:-}/etc/passwd"
    sed -n 's/^\([^:]*\):.*/group \1/p' "${ROOT:-}/etc/group"
}

note_present() { # what apt adds to it, a teardown removes
    mkdir -p "$STATE/made" && present | sort -u >"$STATE/made/present.part" && mv "$STATE/made/present.part" "$STATE/made/present"
}

record_installed() { # also after an apt that was killed
    [ -s "$STATE/made/present" ] || return 0
    present | sort -u | comm -13 "$STATE/made/present" - >>"$STATE/made/list" && rm "$STATE/made/present"
}

attempt_install() {
    attempt apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=0 \
        -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@"
}

apt_purge() {
    simulate_apt purge "$@" || :
    removes_only "$*" || return
    quietly apt-get purge -q -y -o DPkg::Lock::Timeout=0 "$@"
}

simulate_apt() { # simulate_apt install|purge PACKAGE...
    verb=$1
    shift
    apt-get "$verb" --simulate --no-install-recommends -q "$@" >"$RUN/simulated" 2>/dev/null </dev/null
}

removes_only() { # removes_only PACKAGES: whether the simulated apt removes nothing else
    refused=
    for package in $(sed -n 's/^\(Remv\|Purg\) \([^ ]*\).*/\2/p' "$RUN/simulated"); do
        case " $1 " in *" $package "*) ;; *) refused="$refused $package" ;; esac
    done
    [ -n "$refused" ] || return 0
    emit "@tail	apt would remove$refused: remove it yourself if you agree (apt-get remove$refused), and deploy again"
    return 76
}

quietly() { # print the command's output only if it fails
    attempt "$@" && return
    code=$?
    complain
    return $code
}

attempt() { # write the command's output to $RUN/said; wait while another program holds the package locks
    began=$(date +%s) next=0
    while :; do
        "$@" >"$RUN/said" 2>&1 </dev/null 8>&- && return
        failed=$?
        holder=$(lock_holder) || break
        waited=$(($(date +%s) - began))
        if [ "$waited" -ge "$APT_PATIENCE" ]; then
            emit "@tail	gave up after $waited s: $holder is still at work on packages"
            break
        fi
        if [ "$waited" -ge "$next" ]; then
            emit "@step	waiting for $holder, which is changing packages ($waited s of at most $APT_PATIENCE s)"
            next=$((waited + 15))
        fi
        sleep 2
    done
    return $failed
}

complain() {
    complaints "$RUN/said" >"$RUN/complaints"
    { grep . "$RUN/complaints" || tail -n 8 "$RUN/said"; } | sed 's/^/@tail	/'
}

complaints() { # complaints FILE: errors and warnings of apt and dpkg; the reason of an Err: is indented below it
    awk '
        /^Err:/ { print; reason = 1; next }
        reason && /^ / { print; next }
        { reason = 0 }
        /^(E:|W:|N: Skipping|dpkg: error)/ { print }
    ' "$1" | tail -n 12
}

# On a host's first boot, unattended-upgrades takes minutes.
APT_PATIENCE=600

lock_holder() { # who has the lock that apt, dpkg or debconf asked for; fails when they failed for another reason
    held='^E: Could not get lock .*(held by process|\(11: )|locked by another process'
    grep -qE "$held" "$RUN/said" || return
    pid=$(sed -nE 's/.*(held by process|another process with pid) ([0-9]+).*/\2/p' "$RUN/said" | head -n 1)
    name=$(cat "${ROOT:-}/proc/${pid:-none}/comm" 2>/dev/null) ||
        name=$(sed -nE 's/.*held by process [0-9]+ \((.*)\).*/\1/p' "$RUN/said" | head -n 1)
    echo "${name:-another program}${pid:+ (process $pid)}"
}
