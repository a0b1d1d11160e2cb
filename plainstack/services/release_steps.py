"""The steps that replace a release with a new one: commands with guards, which can be interrupted and run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from plainstack.engine.resources import Command
from plainstack.inventory.services import Service
from plainstack.services import files, kinds, static_paths
from plainstack.services.environment_steps import ROOM_FOR, environment
from plainstack.services.places import account, data, home, pin, settings, settings_ahead, unproven
from plainstack.services.release import Release
from plainstack.services.release_pruning import KEPT, PRUNE
from plainstack.services.release_shell import IN_RELEASE, script, word

# A release is built in a staging folder and renamed when complete. Project code runs as the service's account, never as
# root.
_BEGIN = """\
new=$home/staging
rm -rf "$new"
prune "$venv"
or_clear "$new"
enough_room "$home" "$(du -sk "$PAYLOAD/source" | cut -f 1)"
mkdir "$new"
cp -R --no-preserve=mode,ownership "$PAYLOAD/source" "$new/source"
if [ $# -gt 0 ]; then (cd "$new/source" && chmod 755 "$@"); fi
for folder in $writable; do
    mkdir -p "$new/source/$(dirname "$folder")"
    ln -s "$data/$folder" "$new/source/$folder"
done
if [ -n "$venv" ]; then
    "$venv/bin/python" -m compileall -qq "$new/source" || :
    ln -s "../../venvs/${venv##*/}" "$new/venv"
fi
# Linked after the compilation: a file may contain secrets, and compiled code would keep them.
for file in $files; do
    mkdir -p "$new/source/$(dirname "$file")"
    ln -s "$rendered.next/$file" "$new/source/$file"
done
"""

_END = """\
[ -z "$inside" ] || [ -d "$new/$inside" ] || {
    echo "services.$service.static.folder: the complete release has no folder ${inside#source/}. No host was switched"
    exit 1
}
for file in $files; do
    ln -sfn "$rendered/$file" "$new/source/$file"
done
printf 'RELEASE=%s\\n' "$id" >"$new/release.env"
if [ -d "$new/static" ]; then printf 'STATIC_ROOT=%s\\n' "$home/releases/$id/static" >>"$new/release.env"; fi
# Removed at the end of the first deploy that succeeds. Releases that earlier versions of Plainstack built have no such
# file, and count as having run.
: >"$new/unproven"
sync -f "$new"
mv -T "$new" "$home/releases/$id"
"""

_MIGRATED = ': >"$home/releases/$id/migrated"\n'

# When the commands have ended, root becomes the owner of what they wrote into the source: a release is read-only.
_COMPLETE = """complete() { # complete COMMAND LINE
    code=0
    line=$(printf '%s\\n' "$2" | its_own "$new")
    in_release "$new" timeout -k 10 "$seconds" sh -c "$line" || code=$?
    [ $code != 0 ] || return 0
    how="failed with exit code $code"
    [ $code != 124 ] || how="did not finish within $seconds s"
    printf '%s\\n' "The command of services.$service.build.host, $1, $how. No host was switched"
    exit 1
}
chown -R "$account" "$new/source"
"""
_COMPLETED = """chown -R root:root "$new/source"
chmod -R a+rX "$new/source"
"""

_SWITCH = """\
static=$home/releases/$id/static
# Open pages of the previous release still request its files. Link those that the new release does not have.
before=$(readlink -f "$home/current" || :)
if [ -d "$before/static" ] && [ -d "$static" ] && [ "$before/static" != "$static" ]; then
    cd "$before/static"
    if [ -e ../static.files ]; then cat ../static.files; else find . -type f -print0; fi |
        xargs -0 -r sh -c 'for file; do [ -e "$0/$file" ] || printf "%s\\0" "$file"; done' "$static" |
        xargs -0 -r cp --link --parents --target-directory="$static"
fi
rm -f "$home/previous"
if [ -L "$home/current" ]; then cp -P "$home/current" "$home/previous"; fi
# Unlike `previous`, this outlasts a switch that is undone, and a rollback does not change it. Empty: nothing ran.
if [ -z "$pinned" ] && [ "${before##*/}" != "$id" ]; then
    [ -d "$before" ] || before=
    echo "${before##*/}" >"$home/releases/$id/before"
fi
touch "$home/releases/$id"
ln -sfn "releases/$id" "$home/current.new"
mv -T "$home/current.new" "$home/current"
"""

_SWITCH_BACK = """\
[ "$(readlink "$home/current")" = "releases/$id" ] || exit 0
if [ -L "$home/previous" ]; then
    cp -P "$home/previous" "$home/current.new"
    mv -T "$home/current.new" "$home/current"
else
    rm "$home/current"
fi
"""


def put_in_place(
    name: str,
    here: Release,
    service: Service,
    complete: Sequence[tuple[str, str]] = (),
    before: Iterable[Command] = (),
) -> Iterator[Command]:
    """Yield the steps before the service restarts; every host builds the release before any host switches to it.

    `complete` are the commands that complete the release, as people and as sh read them; `before` are the last steps
    before the switch.
    """
    kind = kinds.of(service)
    known = {
        "home": home(name),
        "id": here.id,
        "venv": f"{home(name)}/venvs/{here.venv}" if here.venv else "",
        "account": account(name),
    }
    folder = word(f"{home(name)}/releases/{here.id}")
    # A rollback is refused if a host lacks the release; this is for a host that loses it, or is added, afterwards.
    lacks = f"echo {shlex.quote(f'release {here.id} of {name} is gone from this host: inv deploy --again')}\nexit 1\n"
    yield from environment(name, here, service, lacks)
    executables = "set -- " + " ".join(shlex.quote(file) for file in here.source.executables) + "\n"
    yield Command(
        name=f"{name}: release",
        why=f"put release {here.id} of {name} in place",
        run=lacks
        if here.pinned
        else script(
            executables
            + ROOM_FOR
            + IN_RELEASE
            + PRUNE
            + _BEGIN
            + kind.build
            + _completed(complete)
            + kind.finish
            + _END,
            service=name,
            seconds=str(service.build.timeout),
            settings=settings_ahead(name),
            data=data(name),
            writable=" ".join(service.folders),
            files=" ".join(service.files),
            rendered=files.folder(name),
            inside=static_paths.inside(service),
            kept=str(KEPT),
            pin=pin(name),
            **kinds.variables(service),
            **known,
        ),
        unless=f"[ -d {folder} ]",
        payload=here.source,
        timeout=300 + len(complete) * service.build.timeout,
        follow=bool(complete),
        ahead=True,
    )
    if kind.migrate and not here.pinned:
        yield Command(
            name=f"{name}: migrate",
            why=f"bring the database to release {here.id} of {name}, unless another host has just done it",
            run=script(IN_RELEASE + kind.migrate + _MIGRATED, settings=settings(name), **known),
            unless=f"[ -e {folder}/migrated ]",
            timeout=600,
            follow=True,
        )
    yield from before
    yield Command(
        name=switch_step(name),
        why=f"make release {here.id} of {name} the current one",
        run=script(_SWITCH, home=home(name), id=here.id, pinned="yes" if here.pinned else ""),
        undo=script(_SWITCH_BACK, home=home(name), id=here.id),
        unless=f'[ "$(readlink {word(home(name))}/current)" = releases/{here.id} ]',
    )


def switch_step(name: str) -> str:
    """Return the name of the step that makes another release of a service the current one."""
    return f"{name}: switch"


def proven(name: str, here: Release) -> Command:
    """Return the step after the restart that records that a release has run; it is undone with its transaction."""
    mark = word(unproven(name, here.id))
    return Command(
        name=f"{name}: proven",
        why=f"record that release {here.id} of {name} has started, and can be rolled back to",
        run=f"rm -f {mark}\n",
        undo=f"[ ! -d {word(f'{home(name)}/releases/{here.id}')} ] || : >{mark}\n",
        unless=f"[ ! -e {mark} ]",
    )


def _completed(commands: Sequence[tuple[str, str]]) -> str:
    lines = [f"complete {shlex.quote(said)} {shlex.quote(line)}\n" for said, line in commands]
    return "".join([_COMPLETE, *lines, _COMPLETED]) if lines else ""
