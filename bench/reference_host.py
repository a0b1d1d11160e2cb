"""Scripts for a host of the reference work: print its state, print what a run may touch, do the work, and undo it.

They are sh scripts, and do not use the code that is measured.
"""

from __future__ import annotations

import hashlib
import shlex
from functools import cache

import jinja2

from bench.reference_role import (
    ACCESS,
    CHANGING,
    DIRECTORIES,
    HOME,
    PACKAGES,
    SYSCTL,
    UNITS,
    USERS,
    VERBATIM,
    paths,
    variables,
)

_KERNEL = "/proc/sys/" + SYSCTL[0].replace(".", "/")
_MADE = [path for path, *_ in DIRECTORIES]
_FILES = [*paths().values(), *VERBATIM]

STATE = f"""\
stat -c '%n %a %U %G' {" ".join([*_MADE, *_FILES])}
sha256sum {" ".join(_FILES)}
dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {" ".join(PACKAGES)} | sort
for user in {" ".join(USERS)}; do id -un "$user"; done
systemctl is-enabled {" ".join(UNITS)}
systemctl is-active {" ".join(UNITS)}
cat {_KERNEL}
"""

# Prints every file that a run could touch, and the last start of every unit.
TOUCHED = f"""\
find /etc /usr/local /root /srv /opt /var/lib/dpkg /var/lib/plainstack -type f \\
    -printf '%p %i %T@ %C@ %m %u %g\\n' 2>/dev/null | sort
for unit in {" ".join(UNITS)}; do echo "$unit $(systemctl show -p InvocationID --value "$unit")"; done
"""

# Removes the reference work from a host, except its packages. 7200 is the kernel's default.
RESET = f"""\
systemctl disable --quiet --now {" ".join(UNITS)} 2>/dev/null
rm -rf /etc/bench /var/lib/plainstack {" ".join(VERBATIM)}
systemctl daemon-reload
systemctl reset-failed
echo 7200 >{_KERNEL}
for user in {" ".join(USERS)}; do userdel "$user" 2>/dev/null; done
true
"""


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HOME / "templates/reference"), keep_trailing_newline=True, autoescape=False
    )


def contents(number: int, tuning: int) -> dict[str, bytes]:
    """Return the content of every file of a host, by path."""
    values = variables(number, tuning)
    made = {path: _environment().get_template(f"{path}.j2").render(values).encode() for path in paths().values()}
    return {**made, **{path: (HOME / f"files/reference{path}").read_bytes() for path in VERBATIM}}


def state(number: int, tuning: int) -> str:
    """Return what the script STATE prints when the work is done."""
    lines = [f"{path} {mode:o} {owner} {group}" for path, mode, owner, group in DIRECTORIES]
    for key, path in paths().items():
        mode, owner, group = ACCESS[key % 4]
        lines.append(f"{path} {mode:o} {owner} {group}")
    lines += [f"{path} 644 root root" for path in VERBATIM]
    lines += [f"{hashlib.sha256(text).hexdigest()}  {path}" for path, text in contents(number, tuning).items()]
    lines += [f"{package} installed" for package in sorted(PACKAGES)]
    lines += [*USERS, *["enabled"] * len(UNITS), *["active"] * len(UNITS), SYSCTL[1]]
    return "".join(f"{line}\n" for line in lines)


def touched(before: str, after: str) -> set[str]:
    """Return the files and units that differ between two outputs of the script TOUCHED."""
    return {line.split(" ")[0] for line in set(before.splitlines()) ^ set(after.splitlines())}


def change(number: int, tuning: int) -> str:
    """Return a script that does the small change by hand: five files and one restart."""
    new = contents(number, tuning)
    return _written({path: new[path] for path in CHANGING}) + f"systemctl restart {UNITS[0]}\n"


def converge(number: int, tuning: int) -> str:
    """Return a script that does all of the work by hand, on a host that has the packages."""
    users = "".join(f"useradd --system --user-group {user}\n" for user in USERS)
    folders = "".join(
        f"install -d -m {mode:o} -o {owner} -g {group} {path}\n" for path, mode, owner, group in DIRECTORIES
    )
    units = " ".join(UNITS)
    return (
        f"set -e\n{users}{folders}{_written(contents(number, tuning))}echo {SYSCTL[1]} >{_KERNEL}\n"
        f"systemctl daemon-reload\nsystemctl enable --quiet --now {units}\nsystemctl is-active {units}\n"
    )


def _written(files: dict[str, bytes]) -> str:
    access = {path: ACCESS[key % 4] for key, path in paths().items()}
    lines = []
    for path, content in files.items():
        mode, owner, group = access.get(path, (0o644, "root", "root"))
        lines.append(f"printf %s {shlex.quote(content.decode())} >{path}.new")
        lines.append(f"chmod {mode:o} {path}.new; chown {owner}:{group} {path}.new; mv {path}.new {path}")
    return "".join(f"{line}\n" for line in lines)
