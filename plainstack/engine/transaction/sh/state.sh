# The state kept on the host: the manifests of its roles, and the stamps that its units were last loaded with.

begin() {
    forget_preview
    still_wanted || { STEP='begin: the operator is gone, nothing was touched'; return 70; }
    : >"$RUN/begun" && next_generation begun
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

bring_state_back() { # not bring_back: a probe that comes between must find no other names there
    cp -p "$1" "$2" || mv -T "$1" "$2"
}
