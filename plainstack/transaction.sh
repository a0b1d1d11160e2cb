# The part of a transaction that is the same on every host; plainstack/script.py appends the steps.
# POSIX sh; run as root with RUN = the folder of this run. Nothing on the host changes before `begin`.
# ROOT is for tests: another tree, that may bring stand-ins for programs in its bin.
export LC_ALL=C PATH=${ROOT:+$ROOT/bin:}/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
umask 022
STATE=${ROOT:-}/var/lib/plainstack
# The answer may go to a connection that is gone; the transaction still ends in order.
trap '' HUP PIPE INT

tell() { printf '%s\n' "$*" 2>/dev/null || :; }

# A step is announced before it is done, so that what hangs or fails has a name.
step() {
    STEP=$1
    shift
    tell "@step	$STEP"
    "$@" 2>"$RUN/errors" || fail $?
}

fail() {
    code=$1
    trap - EXIT
    exec 2>/dev/null
    [ ! -s "$RUN/errors" ] || tail -n 5 "$RUN/errors" | sed 's/^/@tail	/'
    [ -e "$RUN/begun" ] || { tell "@failed	untouched	$code	$STEP"; discard; exit 1; }
    show_journal
    outcome=rolled-back
    rollback || outcome=half-undone
    tell "@failed	$outcome	$code	$STEP"
    audit "$outcome"
    discard
    exit 1
}

show_journal() {
    case $STEP in
    start\ * | restart\ * | reload\ *)
        unit=${STEP#* }
        unit=${unit%% *}
        systemctl status --no-pager --lines=0 "$unit" 2>&1 | sed -n 's/^ *Active: /@tail	/p'
        journalctl --no-pager --quiet -o cat -n 12 -u "$unit" 2>/dev/null | sed 's/^/@tail	/'
        ;;
    esac
}

discard() {
    disarm
    rm -rf "$RUN"
}

# --- the lock of this host's transactions, and whether anybody still waits for the answer ---

take_apply_lock() {
    mkdir -p "$STATE/manifest" "$STATE/units" "$STATE/runs"
    chmod 700 "$STATE"
    exec 8>"${ROOT:-}/run/plainstack-apply.lock"
    flock -w 90 8 || { STEP='wait for an earlier run that is still ending on this host'; return 75; }
    while systemctl list-units --plain --no-legend --state=active,activating 'plainstack-guard-*' 2>/dev/null | grep -q .; do
        sleep 0.5
    done
    for left in "$STATE"/runs/*; do
        [ "$left" = "$RUN" ] || rm -rf "$left"
    done
    ! grep -q plainstack "${ROOT:-}/usr/sbin/policy-rc.d" 2>/dev/null || rm "${ROOT:-}/usr/sbin/policy-rc.d"
}

unchanged_since() { # unchanged_since GENERATION: the one that the probe told
    [ "$(cat "$STATE/generation" 2>/dev/null)" = "$1" ] && return
    tell "@tail	an earlier run was still at work here while this one looked: type it again"
    return 75
}

watch_controller() {
    # The controller keeps our input open; its end, however it came, is the end of the input.
    { cat; [ ! -d "$RUN" ] || : >"$RUN/orphaned"; } <&7 >/dev/null 2>&1 8>&- &
    exec 7<&-
}

still_wanted() {
    [ ! -e "$RUN/orphaned" ]
}

# --- undo: files first, then what systemd and units make of them ---

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

back_to() { # back_to active|activating|inactive enabled|... VERB UNIT: what a unit was before this transaction touched it
    systemctl reset-failed "$4" 2>/dev/null || :
    if [ -n "${BOOTING:-}" ]; then
        : # it starts, or does not, in its turn
    elif [ "$1" = active ]; then
        if [ "$3" = reload ]; then systemctl reload "$4" || systemctl restart "$4"; else systemctl restart "$4"; fi || {
            echo "$4 does not come back with its previous configuration either"
            return 1
        }
    elif [ "$1" = activating ]; then
        systemctl --no-block restart "$4" # as it was: on its way up, which it may never be
    else
        systemctl stop "$4" 2>/dev/null || :
    fi
    case $2 in
    enabled) systemctl enable --quiet "$4" ;;
    disabled | not-found | unknown) systemctl disable --quiet "$4" ;;
    masked) systemctl mask --quiet "$4" ;;
    esac 2>/dev/null
    return 0
}

# --- validate: the new files, seen at their real paths, in a mount namespace of their own ---

shadow() { # shadow SCRIPT: run it where /etc already holds this transaction's files
    shade=$RUN/etc
    if [ ! -d "$shade" ]; then
        cp -a "${ROOT:-}/etc" "$shade" || return 1
        (ETC=$shade && . "$RUN/shade.sh") || return 1
    fi
    unshare --mount sh -c 'mount --bind "$1" /etc && exec sh -eu "$2"' - "$shade" "$1" >"$RUN/said" 2>&1 </dev/null
    code=$?
    [ $code = 0 ] || tail -n 12 "$RUN/said" | sed 's/^/@tail	/'
    return $code
}

shade_put() { # shade_put N PATH MODE OWNER GROUP
    case $2 in /etc/*) ;; *) return 0 ;; esac
    mkdir -p "$(dirname "$ETC/${2#/etc/}")" && rm -rf "$ETC/${2#/etc/}" && cp "$RUN/new/$1" "$ETC/${2#/etc/}" &&
        chmod "$3" "$ETC/${2#/etc/}" && { chown "$4:$5" "$ETC/${2#/etc/}" 2>/dev/null || :; }
}

shade_link() {
    case $1 in /etc/*) mkdir -p "$(dirname "$ETC/${1#/etc/}")" && ln -sfn "$2" "$ETC/${1#/etc/}" ;; esac
}

shade_dir() {
    case $1 in /etc/*) mkdir -p "$ETC/${1#/etc/}" && chmod "$2" "$ETC/${1#/etc/}" && { chown "$3:$4" "$ETC/${1#/etc/}" 2>/dev/null || :; } ;; esac
}

shade_remove() {
    case $1 in /etc/*) rm -f "$ETC/${1#/etc/}" ;; esac
}

# --- activate ---

begin() {
    still_wanted || { STEP='begin: the operator is gone, nothing was touched'; return 70; }
    mkdir -p "$RUN/old" "$RUN/keep" && : >"$RUN/begun" && next_generation begun
}

next_generation() { # next_generation begun|done|undone: a plan made from a probe before it is not applied after it
    mv "$RUN/generation.$1" "$STATE/generation"
}

write_manifest() { # write_manifest FILE ROLE: atomically, the old one kept for undo
    target=$STATE/manifest/$2
    if [ ! -e "$RUN/old/manifest.$2" ] && [ ! -e "$RUN/old/no-manifest.$2" ]; then
        if [ -f "$target" ]; then
            cp -p "$target" "$RUN/old/manifest.$2" && undo_path "bring_state_back '$RUN/old/manifest.$2' '$target'"
        else
            : >"$RUN/old/no-manifest.$2" && undo_path "rm -f '$target'"
        fi || return
    fi
    if [ -s "$1" ]; then mv "$1" "$target"; else rm -f "$target"; fi
}

forget_stamp() {
    [ -f "$STATE/units/$1" ] || return 0
    mkdir -p "$RUN/old/units" && cp -p "$STATE/units/$1" "$RUN/old/units/$1" &&
        undo_path "bring_state_back '$RUN/old/units/$1' '$STATE/units/$1'" && rm -f "$STATE/units/$1"
}

keep_stamp() { # keep_stamp UNIT STAMP
    if [ ! -f "$RUN/old/units/$1" ]; then
        if [ -f "$STATE/units/$1" ]; then forget_stamp "$1"; else undo_path "rm -f '$STATE/units/$1'"; fi || return
    fi
    if [ -n "$2" ]; then
        printf '%s\n' "$2" >"$RUN/stamp" && mv "$RUN/stamp" "$STATE/units/$1"
    else
        rm -f "$STATE/units/$1"
    fi
}

keep_old() { # keep_old N PATH: what is there now can be brought back
    real=${ROOT:-}$2
    if [ -L "$real" ] || [ -f "$real" ]; then
        cp -a "$real" "$RUN/old/$1" && undo_path "bring_back '$RUN/old/$1' '$real'"
    elif [ -e "$real" ]; then
        STEP="$STEP: a $(stat -c %F "$real") is in the way"
        return 73
    else
        undo_path "rm -f '$real'"
    fi
}

bring_back() { # bring_back OLD PATH: whole or not at all; on a full disk as well as it goes
    cp -a "$1" "$2.plainstack-old" && mv -T "$2.plainstack-old" "$2" && return
    rm -f "$2.plainstack-old"
    mv -T "$1" "$2"
}

bring_state_back() { # not bring_back: a probe that comes between must find no other names there
    cp -p "$1" "$2" || mv -T "$1" "$2"
}

ensure_parent() {
    local parent
    parent=$(dirname "$1")
    [ -d "$parent" ] && return 0
    ensure_parent "$parent" && undo_path "rmdir '$parent' 2>/dev/null || :" && mkdir "$parent"
}

put() { # put N PATH MODE OWNER GROUP
    real=${ROOT:-}$2
    ensure_parent "$real" && keep_old "$1" "$2" || return
    cp --remove-destination "$RUN/new/$1" "$real.plainstack-new" && chmod "$3" "$real.plainstack-new" && chown "$4:$5" "$real.plainstack-new" &&
        mv -T "$real.plainstack-new" "$real" || { code=$?; rm -f "$real.plainstack-new"; return $code; }
}

rights_of() { # the command that gives a path the owner and mode that it has now
    stat -c "chown %u:%g '$1' && chmod %a '$1'" "$1"
}

set_attributes() { # set_attributes PATH MODE OWNER GROUP
    real=${ROOT:-}$1
    undo_path "$(rights_of "$real")" && chown "$3:$4" "$real" && chmod "$2" "$real"
}

make_directory() { # make_directory PATH MODE OWNER GROUP
    real=${ROOT:-}$1
    if [ -d "$real" ] && [ ! -L "$real" ]; then set_attributes "$@"; return; fi
    [ ! -e "$real" ] && [ ! -L "$real" ] || { STEP="$STEP: a $(stat -c %F "$real") is in the way"; return 73; }
    ensure_parent "$real" && undo_path "rmdir '$real' 2>/dev/null || :" && mkdir "$real" && chown "$3:$4" "$real" &&
        chmod "$2" "$real"
}

make_link() { # make_link N PATH TARGET
    real=${ROOT:-}$2
    ensure_parent "$real" && keep_old "$1" "$2" && ln -sfn "$3" "$real.plainstack-new" && mv -T "$real.plainstack-new" "$real"
}

remove_path() { # remove_path N PATH
    keep_old "$1" "$2" && rm -f "${ROOT:-}$2"
}

remove_directory() { # one that others still use stays
    [ -d "${ROOT:-}$1" ] || return 0
    undo_path "mkdir -p '${ROOT:-}$1' && $(rights_of "${ROOT:-}$1")" &&
        rmdir --ignore-fail-on-non-empty "${ROOT:-}$1"
}

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

remove_user() { # its files stay, so it must come back under its number
    group=$(id -gn "$1")
    again="useradd --system --no-create-home --uid $(id -u "$1") --gid '$group' $(user_now "$1") '$1'"
    undo_path "groupadd --system --gid $(id -g "$1") '$group'; $again" && userdel "$1"
}

set_sysctl() { # set_sysctl NAME VALUE
    knob=${ROOT:-}/proc/sys/$(echo "$1" | tr . /)
    before=$(cat "$knob") && undo_path "printf '%s\n' '$before' >'$knob'" && printf '%s\n' "$2" >"$knob"
}

reread_units() { # reread_units KEY STAMP
    : >"$RUN/reread"
    systemctl daemon-reload && keep_stamp "$1" "$2"
}

switch_unit() { # switch_unit enable|disable|stop UNIT
    remember_unit "$1" "$2" || return
    [ "$1" != enable ] || systemctl unmask --quiet "$2" 2>/dev/null || :
    systemctl --quiet "$1" "$2"
}

remember_unit() { # remember_unit VERB UNIT: once, before the first verb
    grep -q " '$2'\$" "$RUN/undo.units" 2>/dev/null && return 0
    state=$(systemctl is-active "$2" 2>/dev/null)
    enabled=$(systemctl is-enabled "$2" 2>/dev/null | head -n 1)
    case $state in
    active | activating) ;;
    reloading) state=active ;;
    *) state=inactive ;;
    esac
    undo_unit "back_to '$state' '${enabled:-unknown}' '$1' '$2'"
}

start_now() { # start_now UNIT STAMP: what `start` has become, for a unit that systemd brought up since the probe
    state=$(systemctl is-active "$1" 2>/dev/null)
    loaded=$(cat "$STATE/units/$1" 2>/dev/null)
    if [ "$loaded" = "$2" ]; then echo start; return; fi
    # A reload where it is enough: to restart the firewall opens it for a moment.
    case "$state ${loaded:-- }" in
    "active ${2%% *} "* | "reloading ${2%% *} "*) echo reload ;;
    active\ * | reloading\ * | activating\ *) echo restart ;;
    *) echo start ;;
    esac
}

load_unit() { # load_unit VERB UNIT STAMP TIMEOUT HEALTH
    verb=$1
    [ "$verb" != start ] || verb=$(start_now "$2" "$3")
    remember_unit "$verb" "$2" || return
    systemctl reset-failed "$2" 2>/dev/null || :
    systemctl unmask --quiet "$2" 2>/dev/null || :
    timeout "$4" systemctl "$verb" "$2" >"$RUN/said" 2>&1 || { code=$?; sed 's/^/@tail	/' "$RUN/said"; return $code; }
    healthy "$2" "$4" "$5" && keep_stamp "$2" "$3"
}

healthy() { # healthy UNIT TIMEOUT SCRIPT: up now, and answering before the time is over
    deadline=$(($(date +%s) + $2))
    while :; do
        state=$(systemctl is-active "$1" 2>/dev/null)
        case $state in
        active)
            if [ -n "$3" ]; then
                timeout 10 sh -eu "$RUN/$3" >"$RUN/said" 2>&1 </dev/null && break
            else
                # A program that dies of its configuration does so after systemd has called it active.
                sleep 0.3
                [ "$(systemctl is-active "$1")" != active ] || break
            fi
            ;;
        failed) STEP="$STEP (failed)"; return 1 ;;
        esac
        # systemd counts from the last start that was asked for.
        restarts=$(systemctl show -p NRestarts --value "$1" 2>/dev/null)
        if [ "${restarts:-0}" -ge 3 ]; then
            tell "@tail	it died $restarts times since it was started"
            return 1
        fi
        if [ "$(date +%s)" -ge "$deadline" ]; then
            [ -z "$3" ] || tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
            tell "@tail	not healthy within $2 s (state: $state)"
            return 1
        fi
        sleep 0.2
    done
}

run_command() { # run_command N TIMEOUT: n.run, its guard n.unless, perhaps n.undo; payload in payload.n
    # Long may have passed since the probe, with other hosts' work.
    ! sh -eu "$RUN/command.$1.unless" >/dev/null 2>&1 </dev/null || return 0
    PAYLOAD=$RUN/payload.$1
    export PAYLOAD
    if [ -f "$RUN/command.$1.undo" ]; then undo_command "sh -eu '$RUN/command.$1.undo' || :" || return; fi
    (exec 8>&- && cd / && timeout "$2" sh -eu "$RUN/command.$1.run") >"$RUN/said" 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 15 "$RUN/said" | sed 's/^/@tail	/'
        [ $code != 124 ] || tell "@tail	did not end within $2 s"
        return $code
    fi
    sh -eu "$RUN/command.$1.unless" >"$RUN/said" 2>&1 </dev/null || {
        tail -n 5 "$RUN/said" | sed 's/^/@tail	/'
        tell "@tail	it ran without an error, and its guard still says that it is not done"
        return 1
    }
}

# --- packages: one apt transaction, during which no daemon starts ---

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
}

apt_install() { # all packages in one transaction
    apt-get install --simulate "$@" >/dev/null 2>&1 || refresh_lists now || :
    quietly apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=60 \
        -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@"
}

apt_purge() {
    quietly apt-get purge -q -y -o DPkg::Lock::Timeout=60 "$@"
}

quietly() {
    "$@" >"$RUN/said" 2>&1 </dev/null 8>&- && return
    code=$?
    { grep -E '^(E:|Err:|dpkg: error|W: Failed)' "$RUN/said" || tail -n 8 "$RUN/said"; } | tail -n 8 | sed 's/^/@tail	/'
    return $code
}

# --- the lock-out guard: silence means roll back, and so does a boot ---

BOOT_GUARD=${ROOT:-}/etc/systemd/system/plainstack-undo.service

arm() { # arm SECONDS
    systemctl stop "plainstack-guard-${RUN##*/}.timer" 2>/dev/null || :
    guard_boot && sync -f "$STATE" || return
    systemd-run --quiet --collect --unit="plainstack-guard-${RUN##*/}" --on-active="$1" --timer-property=AccuracySec=100ms \
        /bin/sh -c "[ ! -d $RUN ] || { RUN=$RUN; . $RUN/library.sh; unconfirmed; }"
}

guard_boot() {
    wants=${BOOT_GUARD%/*}/sysinit.target.wants
    ! is_boot_guard_ours || return 0
    mkdir -p "$wants" && cat >"$BOOT_GUARD" <<UNIT && ln -sf "$BOOT_GUARD" "$wants/"
# plainstack: removed when the change is confirmed
[Unit]
Description=Undo a change that nobody confirmed before this boot (plainstack)
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target plainstack-firewall.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c "if [ -d $RUN ]; then RUN=$RUN; BOOTING=yes; . $RUN/library.sh; unconfirmed; fi; rm -f $BOOT_GUARD $wants/${BOOT_GUARD##*/}"
UNIT
}

disarm() {
    systemctl stop "plainstack-guard-${RUN##*/}.timer" 2>/dev/null || :
    unguard_boot
}

is_boot_guard_ours() { grep -qsF "RUN=$RUN;" "$BOOT_GUARD"; }

unguard_boot() {
    ! is_boot_guard_ours || rm -f "$BOOT_GUARD" "${BOOT_GUARD%/*}/sysinit.target.wants/${BOOT_GUARD##*/}"
}

decide() { # whoever is first decides, the operator or the guard
    mkdir "$RUN/decided" 2>/dev/null
}

confirm() {
    decide || { echo 'the host was already undoing it' >&2; return 1; }
    mv "$RUN" "$RUN.confirmed"
    disarm
    rm -rf "$RUN.confirmed"
}

unconfirmed() {
    [ -n "${BOOTING:-}" ] || decide || return 0
    STEP=guard
    if rollback; then audit rolled-back; else audit half-undone; fi
    rm -rf "$RUN"
    disarm
}

keep_kernel_state() { # keep_kernel_state SNAPSHOT RESTORE: script files
    KEEP=$RUN/keep
    export KEEP
    sh -eu "$RUN/$1" && printf '%s\n' "sh -eu '$RUN/$2'" >>"$RUN/undo.kernel"
}

audit() { # audit RESULT
    [ -f "$RUN/audit" ] || return 0
    mkdir -p "${ROOT:-}/var/log/plainstack"
    sed "s/\"result\": \"\"/\"result\": \"$1\"/; s/\"at\": \"\"/\"at\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"/" "$RUN/audit" \
        >>"${ROOT:-}/var/log/plainstack/audit.jsonl"
}

end() {
    next_generation done
    if [ -n "${GUARDED:-}" ]; then
        STEP='give the operator time to confirm'
        arm 30 || fail $?
    fi
    audit done
    trap - EXIT
    if [ -n "${GUARDED:-}" ]; then
        tell "@unconfirmed	${RUN##*/}"
    else
        rm -rf "$RUN"
    fi
    tell "@done"
}
