"""The steps before a release that give a service its Python and its virtual environment on a host."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import Command, Payload
from plainstack.engine.transaction.room import ROOM
from plainstack.inventory.services import Service
from plainstack.services import pythons
from plainstack.services.places import home
from plainstack.services.release import Release
from plainstack.services.release_shell import script, word

# Stop before a file is written if the disk has no room for what is known to come, in KiB. What a step that failed
# halfway has written is removed, because the running release needs the room, too.
ROOM_FOR = f"""\
room_for() {{ # room_for FOLDER KIB
    {ROOM}
}}
enough_room() {{
    lacking=$(room_for "$1" "${{2:-0}}" 2>&1)
    [ -z "$lacking" ] || {{ echo "$lacking"; exit 1; }}
}}
or_clear() {{
    unfinished=$1
    trap 'code=$?; [ $code = 0 ] || rm -rf "$unfinished"; exit $code' EXIT
}}
"""

# uv checked the archive on the operator's machine. The file `complete` is written last, and holds the full version.
_PYTHON = """\
rm -rf "$folder"
or_clear "$folder"
mkdir -p "$folder"
enough_room "$folder" "$(($(gzip -dc "$PAYLOAD/python.tar.gz" | wc -c) / 1024))"
tar -xzf "$PAYLOAD/python.tar.gz" -C "$folder" --strip-components=1 --no-same-owner
python=$folder/bin/python$version
ask='import ssl, sys, venv, zlib
print("%d.%d.%d" % sys.version_info[:3])'
full=$("$python" -I -c "$ask") || { echo "Python $choice does not run on this host"; exit 1; }
case $full. in
"$choice".*) ;;
*)
    echo "The Python that was downloaded for $choice is $full"
    exit 1
    ;;
esac
# Services cannot write there, so they would compile the standard library at every start.
library=$folder/lib/python$version
"$python" -I -m compileall -qq -j 0 -x "^$library/(test|idlelib|lib2to3|site-packages)/" "$library" || :
sync -f "$folder"
echo "$full" >"$folder/complete"
"""

# Debian's pip, run from its wheel: creating a virtual environment with its own pip takes 2.4 s longer. The file
# `complete` is written last; without it, the environment is created again.
_VENV = """\
rm -rf "$venv"
or_clear "$venv"
unpacked='import sys, zipfile
print(sum(one.file_size for name in sys.argv[1:] for one in zipfile.ZipFile(name).infolist()) // 1024)'
enough_room "${venv%/*}" "$(python3 -c "$unpacked" "$PAYLOAD"/wheels/*.whl 2>/dev/null)"
"$python" -m venv --without-pip "$venv"
pip=$(echo /usr/share/python-wheels/pip-*.whl)/pip
"$venv/bin/python" "$pip" install --quiet --no-index --no-cache-dir --find-links "$PAYLOAD/wheels" \\
    --require-hashes --requirement "$PAYLOAD/requirements.txt"
sync -f "$venv"
: >"$venv/complete"
"""


def environment(name: str, here: Release, service: Service, lacks: str) -> Iterator[Command]:
    """Yield the steps that install the release's Python, if it is a downloaded one, and what the lock pins.

    `lacks` is the script that reports that a pinned release has lost its environment.
    """
    venv = f"{home(name)}/venvs/{here.venv}"
    if here.venv and not here.pinned and (choice := pythons.downloaded(service)):
        yield Command(
            name=f"{name}: python",
            why=f"install Python {choice} for {name}",
            run=script(
                ROOM_FOR + _PYTHON,
                folder=pythons.folder(name, choice),
                choice=choice,
                version=pythons.version(service),
            ),
            unless=f"[ -e {word(pythons.folder(name, choice))}/complete ]",
            payload=Payload(interpreter=choice),
            timeout=300,
            ahead=True,
        )
    if here.venv:
        yield Command(
            name=f"{name}: requirements",
            why=f"install what {name} needs, from wheels ({here.venv})",
            run=lacks
            if here.pinned
            else script(ROOM_FOR + _VENV, venv=venv, python=pythons.interpreter(name, service)),
            unless=f"[ -e {word(venv)}/complete ]",
            payload=here.wheels,
            timeout=300,
            ahead=True,
        )
