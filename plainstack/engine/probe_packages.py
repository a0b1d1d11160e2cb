"""The part of a probe that reads packages: which are installed, and what apt would remove to install the others."""

from __future__ import annotations

from collections.abc import Sequence

from plainstack.engine.resources import Package

_SHAPE = r"package\t${Package}\t${db:Status-Status}\t${Version}\n"

_REMOVALS = """\
# No process for each: there may be a hundred.
has() {
    case "
$installed" in *"
package\t$1\tinstalled\t"*) ;; *) return 1 ;; esac
}
missing=$(while read -r name others; do
    for one in $name $others; do ! has "$one" || continue 2; done
    echo "$name"
done <<'WANTED'
%s
WANTED
)
simulate() { [ $# != 0 ] && apt-get install --simulate --no-install-recommends -q "$@" 2>/dev/null </dev/null; }
[ -z "$missing" ] || {
    # One name that apt does not know, of a source that is not there yet, keeps it from answering for the others.
    simulate $missing || simulate $(apt-cache pkgnames 2>/dev/null | grep -Fx "$missing")
} | sed -n 's/^\\(Remv\\|Purg\\) \\([^ ]*\\).*/removes\t\\2/p'
"""


def script(packages: Sequence[Package]) -> str:
    """Shell text that prints a line for each installed package, and one for each that would go.

    apt is asked only when a package is missing, and says nothing where its lists are missing too.
    """
    names = dict.fromkeys(name for item in packages for name in (item.name, *item.instead))
    query = (
        f"set -- {' '.join(names)} $(known package)\n"
        f"installed=$([ $# = 0 ] || dpkg-query -W -f='{_SHAPE}' \"$@\" 2>/dev/null)\n"
        "printf '%s\\n' \"$installed\"\n"
    )
    if not packages:
        return query
    return query + _REMOVALS % "\n".join(dict.fromkeys(" ".join((item.name, *item.instead)) for item in packages))
