"""A service's environment on a host, read from its systemd unit, and commands that run in this environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from plainstack.dataclass import dataclass
from plainstack.errors import NotDeployed, Refused
from plainstack.services.places import home

_SHOWN = ("LoadState", "User", "Group", "WorkingDirectory", "UMask", "EnvironmentFiles")

# The service's account reads the values of the variables on the host, so that no value is part of a command line.
_RUN = """\
unit=$1 programs=$2 folder=$3
umask "$4"
shift 4
PATH=$programs:$PATH
own=$(systemctl show --property=Environment --value "$unit")
set -a
[ -z "$own" ] || eval "export $own"
while [ "$1" != -- ]; do
    . "$1"
    shift
done
set +a
shift
cd "$folder"
case $1 in *.py) [ ! -f "$1" ] || set -- python "$@" ;; esac
command -v -- "$1" >/dev/null || {
    printf '%s\\n' "$1: no such command in $PATH" >&2
    exit 127
}
exec "$@"
"""


@dataclass(frozen=True)
class Environment:
    """The environment of a unit: account, working directory, and files with variables.

    Paths below the link `current` are those of the release that was current at the time. `programs` is the folder of
    the release's own programs, which comes first in PATH.
    """

    unit: str
    user: str
    group: str
    folder: str
    umask: str
    files: tuple[str, ...]
    programs: str

    def command(self, words: Sequence[str], name: str, description: str) -> str:
        """Return a command line for root that runs `words` in this environment, in a systemd scope with this name.

        A first word that is a Python file of the release is run by the release's Python.
        """
        scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={name}", f"--description={description}"]
        account = ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--init-groups", "--reset-env"]
        inner = ["sh", "-c", _RUN, "sh", self.unit, self.programs, self.folder, self.umask, *self.files, "--", *words]
        # Ctrl-C must end only the command: this shell waits for the command and returns its exit code.
        return f"trap : INT QUIT\n{shlex.join([*scope, '--', *account, '--', *inner])}\nexit $?"


def script(service: str, unit: str) -> str:
    """Return a script that prints what `parse` reads."""
    asked = " ".join(f"--property={name}" for name in _SHOWN)
    return (
        f"systemctl show {asked} {shlex.quote(unit)}\n"
        f'echo "Release=$(readlink -f {shlex.quote(home(service))}/current)"\n'
    )


def parse(host: str, service: str, unit: str, text: str) -> Environment:
    """Return the environment that `script` printed.

    Raises NotDeployed if the host does not have the unit yet, and Refused if the unit runs as root.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    said = {key: values[0] for key, values in found.items()}
    release = said.get("Release", "")
    if said.get("LoadState") != "loaded" or not release:
        raise NotDeployed([host])
    if not said.get("User"):
        raise Refused(
            f"{host}: {unit} sets no User= and runs as root; commands are run only as a service's own account"
        )
    current = f"{home(service)}/current"

    def fixed(path: str) -> str:
        """Return a path below `current` as a path in this release, so that a later switch does not change it."""
        return f"{release}{path.removeprefix(current)}" if path.startswith(f"{current}/") else path

    files = [re.sub(r" \(ignore_errors=(yes|no)\)$", "", value) for value in found.get("EnvironmentFiles", [])]
    return Environment(
        unit=unit,
        user=said["User"],
        group=said.get("Group") or said["User"],
        folder=fixed(said.get("WorkingDirectory", "").lstrip("!-")) or "/",
        umask=said.get("UMask") or "0022",
        files=tuple(fixed(file) for file in files if file),
        programs=f"{release}/venv/bin",
    )
