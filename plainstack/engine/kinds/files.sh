# Files, directories and links.

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

ensure_parent() {
    local parent
    parent=${1%/*}
    [ -d "$parent/" ] && return 0
    ensure_parent "$parent" && undo_path "rmdir '$parent' 2>/dev/null || :" && note_made "folder ${parent#"${ROOT:-}"}" &&
        mkdir "$parent"
}

note_made() { # note_made LINE: in the list of what Plainstack brought to this host, which a teardown reads
    mkdir -p "$STATE/made" && undo_path "unmake '$1'" && printf '%s\n' "$1" >>"$STATE/made/list"
}

unmake() { # unmake LINE: its last occurrence, because an earlier run may have made the same
    awk -v line="$1" '{ text[NR] = $0; if ($0 == line) last = NR }
        END { for (n = 1; n <= NR; n++) if (n != last) print text[n] }' "$STATE/made/list" >"$RUN/made" &&
        mv "$RUN/made" "$STATE/made/list"
}

keep_original() { # keep_original PATH: what is there before Plainstack replaces or removes it, which a teardown puts back
    there=${ROOT:-}$1 kept=$STATE/before$1
    if [ -e "$kept" ] || [ -L "$kept" ]; then return; fi
    [ -f "$there" ] || [ -L "$there" ] || return 0
    ! of_our_package "$1" || return 0
    undo_path "rm -f '$kept'; rmdir -p --ignore-fail-on-non-empty '${kept%/*}'" && mkdir -p "${kept%/*}" &&
        cp -a "$there" "$kept.part" && mv -T "$kept.part" "$kept"
}

of_our_package() { # of_our_package PATH: whether a package that Plainstack installed ships the path
    [ -f "$STATE/made/list" ] || return
    owner=$(dpkg-query -S "$1" 2>/dev/null | sed -n '1s/[:,].*//p')
    [ -n "$owner" ] && grep -qFx "package $owner" "$STATE/made/list"
}

bring_original() { # bring_original N PATH
    real=${ROOT:-}$2
    keep_old "$1" "$2" && cp -a "$STATE/before$2" "$real.plainstack-new" && mv -T "$real.plainstack-new" "$real"
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
    # The path is on another file system than this run's folder.
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
    keep_old "$1" "$2" && rm -f "${ROOT:-}$2" && leave_drop_ins "${2%/*}"
}

leave_drop_ins() { # leave_drop_ins FOLDER: removed if it was made for drop-ins of a unit, and held the last of them
    case $1 in /etc/systemd/system/*.d) ;; *) return 0 ;; esac
    [ -d "${ROOT:-}$1" ] && grep -qFx "folder $1" "$STATE/made/list" 2>/dev/null || return 0
    undo_path "mkdir -p '${ROOT:-}$1'" && rmdir --ignore-fail-on-non-empty "${ROOT:-}$1"
}

remove_directory() { # one that others still use stays
    [ -d "${ROOT:-}$1" ] || return 0
    undo_path "mkdir -p '${ROOT:-}$1' && $(rights_of "${ROOT:-}$1")" &&
        rmdir --ignore-fail-on-non-empty "${ROOT:-}$1"
}

# A tree is moved aside, so that an undo can restore it; it is deleted when the run has succeeded.
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
