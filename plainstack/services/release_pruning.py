"""Which releases a host keeps, and the removal of the others with what only they need."""

from __future__ import annotations

from plainstack.engine.resources import Command
from plainstack.services.places import home, pin
from plainstack.services.release_shell import script, word

# How many releases that have run a host keeps; the current and the previous one are always among them, and those in
# which a process still runs come next. Of those whose deploy did not succeed, it keeps the last one, to find out why.
KEPT = 5

# A killed run must not leave a half-removed release or environment that a later deploy takes for a complete one.
PRUNE = """\
newest() { # newest proven|unproven: these releases, newest first
    ls -t "$home/releases" | while read -r each; do
        which=proven
        [ ! -e "$home/releases/$each/unproven" ] || which=unproven
        [ $which != "$1" ] || echo "$each"
    done
}
in_use() {
    readlink "$home/current" || :
    sed -n 's/^release=//p' "$pin" 2>/dev/null || :
    readlink "$home/previous" || :
    # The command of a timer, or of `inv exec`, may read more of its release.
    readlink /proc/[0-9]*/cwd 2>/dev/null | sed -n "/ (deleted)$/d; s|^$home/\\(releases/[^/]*\\).*|\\1|p" | sort -u
}
prune() { # prune VENV: remove old releases, and what only they need; VENV stays
    keep=$({ in_use; newest proven; } | sed '/^$/d; s|.*/||' | awk '!seen[$0]++' | head -n "$kept")
    failed=$(for each in $keep; do [ ! -e "$home/releases/$each/unproven" ] || echo "$each"; done)
    keep="$keep
${failed:-$(newest unproven | head -n 1)}"
    for each in "$home"/releases/*; do
        [ -e "$each" ] || continue
        ! printf '%s\\n' "$keep" | grep -qxF "${each##*/}" || continue
        rm -rf "$home/staging"
        mv -T "$each" "$home/staging"
        rm -rf "$home/staging"
    done
    for each in "$home"/venvs/*; do
        [ -e "$each" ] || continue
        ! { echo "${1##*/}"; readlink "$home"/releases/*/venv | sed 's|.*/||'; } | grep -qxF "${each##*/}" || continue
        rm -f "$each/complete"
        rm -rf "$each"
    done
    for each in "$home"/pythons/*; do
        [ -e "$each" ] || continue
        ! sed -n 's|^home = .*/pythons/\\(.*\\)/bin$|\\1|p' "$home"/venvs/*/pyvenv.cfg |
            grep -qxF "${each##*/}" || continue
        rm -f "$each/complete"
        rm -rf "$each"
    done
}
"""

# In the shell itself, since every probe runs it.
_PRUNED = """\
set -- {releases}/*
all=$#
set -- {releases}/*/unproven
[ -e "$1" ] || shift
[ $# -le 1 ] && [ $((all - $#)) -le {kept} ]
"""


def prune(name: str) -> Command:
    """Return the last step, which removes old releases."""
    return Command(
        name=f"{name}: prune",
        why=f"keep the last {KEPT} releases of {name}, and the last one that failed",
        run=script(PRUNE + "prune ''\n", home=home(name), kept=str(KEPT), pin=pin(name)),
        unless=_PRUNED.format(releases=word(f"{home(name)}/releases"), kept=KEPT),
    )
