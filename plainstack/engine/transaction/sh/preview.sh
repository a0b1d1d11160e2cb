# A mount namespace that shows the new files at their real paths, for validations.

# In memory: on some disks, hundreds of files that live for a second cost far more than the validations themselves.
PREVIEW=${ROOT:-}/run/plainstack-preview

shadow() { # shadow SCRIPT: run it where /etc already holds this transaction's files
    if [ ! -e "$RUN/previewed" ]; then
        # A transaction that was killed may have left its preview.
        : >"$RUN/previewed" && forget_preview && mkdir -m 700 "$PREVIEW" && cp -a "${ROOT:-}/etc" "$PREVIEW/etc" &&
            (ETC=$PREVIEW/etc && . "$RUN/shade.sh") || return 1
    fi
    unshare --mount sh -c 'mount --bind "$1" /etc && exec sh -eu "$2"' - "$PREVIEW/etc" "$1" >"$RUN/said" 2>&1 </dev/null
    code=$?
    [ $code = 0 ] || tail_of "$RUN/said" 12
    return $code
}

forget_preview() { # the caller holds this host's lock
    [ ! -e "$PREVIEW" ] || rm -rf "$PREVIEW"
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
