# Files, accounts, and what the host remembers of them: each step notes its undo before it is done.

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

note_stamp() { # note_stamp UNIT: what it was can be brought back
    [ ! -f "$RUN/old/units/$1" ] || return 0
    if [ -f "$STATE/units/$1" ]; then forget_stamp "$1"; else undo_path "rm -f '$STATE/units/$1'"; fi
}

keep_stamp() { # keep_stamp UNIT STAMP
    note_stamp "$1" || return
    if [ -n "$2" ]; then
        printf '%s\n' "$2" >"$RUN/stamp" && mv "$RUN/stamp" "$STATE/units/$1"
    elif [ -e "$STATE/units/$1" ]; then
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
    parent=${1%/*}
    [ -d "$parent/" ] && return 0
    ensure_parent "$parent" && undo_path "rmdir '$parent' 2>/dev/null || :" && mkdir "$parent"
}

give() { # give OWNER:GROUP N...: new files, before they are put in their places
    owner=$1
    shift
    (cd "$RUN/new" && chown "$owner" "$@")
}

put() { # put N PATH MODE OWNER GROUP
    real=${ROOT:-}$2
    ensure_parent "$real" && keep_old "$1" "$2" || return
    mv --no-copy -T "$RUN/new/$1" "$real" 2>/dev/null && return
    # On another file system than this run's folder.
    install -T -m "$3" -o "$4" -g "$5" "$RUN/new/$1" "$real.plainstack-new" && mv -T "$real.plainstack-new" "$real" ||
        { code=$?; rm -f "$real.plainstack-new"; return $code; }
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
    ensure_parent "$real" && undo_path "rmdir '$real' 2>/dev/null || :" && mkdir -m "$2" "$real" || return
    [ "$3:$4" = root:root ] || chown "$3:$4" "$real"
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

# A tree is moved aside, so that it can be brought back, and deleted when the run has ended well.
ASIDE=.plainstack-removed

remove_tree() { # remove_tree PATH
    real=${ROOT:-}$1
    [ -d "$real" ] || return 0
    rm -rf "$real$ASIDE" && undo_path "mv -T '$real$ASIDE' '$real'" && printf '%s\n' "$real$ASIDE" >>"$RUN/trash" &&
        mv -T "$real" "$real$ASIDE"
}

empty_trash() { # empty_trash RUN
    [ ! -f "$1/trash" ] || while IFS= read -r aside; do rm -rf "$aside"; done <"$1/trash"
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

remove_user() { # its undo brings it back under its number, which files may have
    uid=$(id -u "$1")
    group=$(id -gn "$1")
    gid=$(id -g "$1")
    kept=$(file_of "$uid" "$gid")
    if [ -n "$kept" ]; then
        # The next account would get the number, and with it these files.
        tell "@note	the account $1 stays, without a way to log in: it owns files that Plainstack did not write, such as $kept"
        undo_path "usermod $(user_now "$1") '$1'" && usermod --shell /usr/sbin/nologin "$1"
        return
    fi
    again="useradd --system --no-create-home --uid $uid --gid '$group' $(user_now "$1") '$1'"
    undo_path "groupadd --system --gid $gid '$group'; $again" && userdel "$1"
}

file_of() { # file_of UID GID: one file on a local disk that belongs to either, but for what this run removes
    if [ -n "${ROOT:-}" ]; then echo "$ROOT"; else df --local --portability | awk 'NR > 1 { print $6 }'; fi | while read -r disk; do
        find "$disk" -xdev -name "*$ASIDE" -prune -o \( -uid "$1" -o -gid "$2" \) -print -quit 2>/dev/null
    done | head -n 1
}
