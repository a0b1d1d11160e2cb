"""An example role with many kinds of resources, before and after a change, for tests that run scripts on a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plainstack.engine.resources import Absent, Command, Directory, File, Link, Resource, Unit, User, Validation

Desired = Mapping[str, Sequence[Resource]]
UNIT_FILE = "/etc/systemd/system/app.service"
SECRET = File(path="/etc/app/key", content=b"private key\n", mode=0o600, owner="daemon", secret=True)
VALID = Validation(name="app -t", run="grep -qx 'port = [0-9]*' /etc/app/app.conf", reads=("/etc/app/",))


def app(conf: str, *extra: Resource, unit_file: str = "[Service]\n", health: str = "") -> Desired:
    """Return the role's resources; its unit reloads when app.conf changes, and restarts when the key changes."""
    unit = Unit(
        name="app.service",
        reload_on=("/etc/app/app.conf",),
        restart_on=(SECRET.path,),
        health=health,
        timeout=30,
    )
    wanted = (
        Directory(path="/etc/app", mode=0o750, group="daemon"),
        File(path="/etc/app/app.conf", content=conf.encode()),
        SECRET,
        File(path=UNIT_FILE, content=unit_file.encode()),
        Link(path="/srv/app/current", target="/srv/app/releases/1"),
        Absent(path="/etc/default-site"),
        VALID,
        unit,
    )
    return {"app": (*wanted, *extra)}


BEFORE = app("port = 1\n", File(path="/etc/app/old.conf", content=b"old\n"), Directory(path="/srv/old", mode=0o700))
AFTER = app(
    "port = 2\n",
    File(path="/etc/app/deep/er/new.conf", content=b"new\n", mode=0o640, group="daemon"),
    User(name="app", home="/srv/app", groups=("adm",)),
    Command(
        name="migrate", why="w", run="touch $ROOT/migrated", unless="[ -e $ROOT/migrated ]", undo="rm $ROOT/migrated"
    ),
    unit_file="[Service]\nUser=app\n",
)
