"""The shell that brings a release's static files from an application host to a balancer, and that puts them in use.

A balancer's folder of a service holds `releases`, the files of each release, and the link `current` to a folder in
`served`: the files of the release in use, and those of earlier releases that it lacks, as hard links.
"""

from __future__ import annotations

from collections.abc import Sequence

from plainstack.engine.resources import Command, Fetched, Payload
from plainstack.services.environment_steps import ROOM_FOR
from plainstack.services.places import home
from plainstack.services.release_pruning import KEPT
from plainstack.services.release_shell import script, word

LAYOUT = ("releases", "served", "current", "current.new", "previous")
_ARCHIVE = "files.tar.gz"

# Prints an archive of a release's files. Links, which could point anywhere on a balancer, and hidden files are left
# out. The status of a pipe is that of its last program, so tar is the last.
_PACK = """\
set -eu
cd "$release/$inside"
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
list() {
    if [ -e "$release/static.files" ]; then cat "$release/static.files"; else find . -type f -print0; fi
}
list | { grep -zv '/[.]' || :; } | LC_ALL=C sort -z |
    tar -c -z --no-recursion --owner=0 --group=0 --mode=a=r,u+w --null --verbatim-files-from -T - >"$archive"
base64 -w 0 "$archive"
"""

# Pages of earlier releases ask for their files until they are closed, also after a rollback.
_SERVE = """\
serve() { # serve RELEASE: its files, and those of the other releases that it lacks
    ls -t | awk -v id="$1" '$0 != id' | tail -n "+$kept" | xargs -r rm -rf --
    now=$(readlink "$base/current" || :)
    mkdir -p "$base/served"
    for each in "$base/served"/*; do
        [ "served/${each##*/}" = "$now" ] || rm -rf "$each"
    done
    tree=$base/served/$1.$(date +%s%N)
    or_clear "$tree"
    cp -R --link "$1" "$tree"
    for other in $(ls -t); do
        [ "$other" != "$1" ] || continue
        # Where a name is a file in one release and a folder in another, the newer one stays.
        (cd "$other" && find . -type f -print0 |
            xargs -0 -r sh -c 'for file; do [ -e "$0/$file" ] || printf "%s\\0" "$file"; done' "$tree" |
            xargs -0 -r cp --link --parents --target-directory="$tree" 2>/dev/null) || :
    done
    chmod -R u=rwX,go=rX "$base/served"
    rm -f "$base/previous"
    if [ -n "$now" ]; then ln -s "$now" "$base/previous"; fi
    ln -sfn "served/${tree##*/}" "$base/current.new"
    mv -T "$base/current.new" "$base/current"
}
"""

# Hosts switch one after another, and the release may fail on the first one. So these files must not replace any of the
# release in use; but pages of the new one find those with new names. The release gets its name last, so that a run that
# was interrupted is repeated.
_UNPACK = """\
new=$base/releases/$id.new
rm -rf "$base/releases"/*.new
or_clear "$new"
enough_room "$base" "$(tar -t -v -z -f "$PAYLOAD/$archive" | awk '{ bytes += $3 } END { print int(bytes / 1024) }')"
mkdir -p "$base/releases" "$new"
tar -x -z -f "$PAYLOAD/$archive" -C "$new" --no-same-owner
chmod -R u=rwX,go=rX "$new" "$base/releases"
sync -f "$new"
used=$(readlink "$base/current" || :)
used=${used#served/}
cd "$base/releases"
if [ -d "./${used%.*}" ] && [ -n "$used" ]; then serve "${used%.*}"; fi
mv -T "$new" "$base/releases/$id"
"""

_USE = """\
cd "$base/releases"
rm -rf ./*.new
touch "$id"
serve "$id"
"""

_USE_BACK = """\
case $(readlink "$base/current") in "served/$id."*) ;; *) exit 0 ;; esac
if [ -d "$base/previous/" ]; then
    cp -P "$base/previous" "$base/current.new"
    mv -T "$base/current.new" "$base/current"
else
    rm "$base/current"
fi
"""


def fetch(name: str, base: str, release: str, inside: str, hosts: Sequence[str]) -> Command:
    """Return the step that brings the files of a release to a balancer from one of the hosts that have the release.

    The balancer then also serves those whose names the release in use lacks.

    `inside` is the folder with the files in the folder of the release.
    """
    pack = script(_PACK, release=f"{home(name)}/releases/{release}", inside=inside)
    what = f"the static files of release {release} of {name}"
    fetched = Fetched(name=_ARCHIVE, what=what, hosts=tuple(hosts), script=pack)
    return Command(
        name=f"{name}: static files",
        why=f"bring the static files of release {release} of {name} here",
        run=script(ROOM_FOR + _SERVE + _UNPACK, base=base, id=release, archive=_ARCHIVE, kept=str(KEPT)),
        unless=f"[ -d {word(f'{base}/releases/{release}')} ]",
        payload=Payload(fetched=fetched),
        timeout=300,
    )


def use(name: str, base: str, release: str) -> Command:
    """Return the step that serves the files of a release, and those of the last KEPT releases that it lacks."""
    return Command(
        name=f"{name}: static files in use",
        why=f"serve the static files of release {release} of {name}",
        run=script(ROOM_FOR + _SERVE + _USE, base=base, id=release, kept=str(KEPT)),
        undo=script(_USE_BACK, base=base, id=release),
        unless=f'case "$(readlink {word(base)}/current)" in served/{release}.*) ;; *) exit 1 ;; esac',
    )
