"""Shell that the steps of a release share: its variables, and how it runs the service's own code."""

from __future__ import annotations

import shlex

# The environment of the service's processes: `in_release FOLDER PROGRAM...` runs the service's code as its account.
# Before the switch, references to the folder of the current source mean that of the release itself.
IN_RELEASE = """\
its_own() { # its_own FOLDER: pass on text, with paths in the current release's source replaced by those in FOLDER's
    sed "s|${home#"${ROOT:-}"}/current/source|$1/source|g"
}
in_release() (
    folder=$1
    shift
    values=$(its_own "$folder" <"$settings") || exit
    set -a
    eval "$values"
    RELEASE=$id STATIC_ROOT=$folder/static PYTHONDONTWRITEBYTECODE=1
    # Otherwise Python holds back what a program prints, and so its progress.
    PYTHONUNBUFFERED=1
    HOME=$(getent passwd "$account" | cut -d : -f 6) USER=$account LOGNAME=$account
    PATH=${venv:+$venv/bin:}$folder/source:$PATH
    cd "$folder/source" || exit
    exec runuser -u "$account" -- "$@"
)
manage() {
    folder=$1
    shift
    in_release "$folder" python manage.py "$@"
}
"""


def script(body: str, **variables: str) -> str:
    """Return a shell script that begins with variables."""
    return "".join(f"{name}={word(value)}\n" for name, value in variables.items()) + body


def word(value: str) -> str:
    """Return a value quoted for sh; a path is placed below $ROOT, which is empty except in tests."""
    return f"${{ROOT:-}}{shlex.quote(value)}" if value.startswith("/") else shlex.quote(value)
