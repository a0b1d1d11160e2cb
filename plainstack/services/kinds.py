"""The kinds of service: what each needs in its source, and how a host builds a release of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.inventory.service_values import DEBIANS_PYTHON
from plainstack.inventory.services import DjangoService, PythonService, Service, StaticService
from plainstack.services import django_files, django_look, static_paths
from plainstack.services.requirements import lock_command
from plainstack.wording import one_of

LOCK = "requirements.txt"
# The Python version of Debian 13, for which wheels are chosen.
PYTHON = DEBIANS_PYTHON

# The main process of a service: its unit is named after the service alone.
MAIN = "web"
_DRIVERS = ("psycopg", "psycopg-binary", "psycopg-c", "psycopg2", "psycopg2-binary")

Needs = Callable[[Service, str, Sequence[str]], Mapping[str, str]]
Look = Callable[[Service, Mapping[str, str]], Iterator[str]]


def _nothing(_service: Service, _key: str, _files: Sequence[str]) -> Mapping[str, str]:
    return {}


def _no_problems(_service: Service, _files: Mapping[str, str]) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True)
class Kind:
    """A kind of service.

    `needs` returns the files that a source must contain, with a description of each. If `requirements` is true, the
    source has a lock, from which each release gets a virtual environment. `packages` maps each package that the lock
    must contain to the reason. `problems` yields the errors that reading the source shows, and `notes` what
    the operator should know. `build` is a shell script
    that builds a new release in the folder $new before any host switches to it, and `finish` one that ends the build,
    after the inventory's own commands. `migrate` is one that migrates the database to release $id, unless another host
    has just done so. They run as root; in them, `in_release FOLDER
    PROGRAM...` runs the service's own code as its account. `console` is the command of `inv console`.
    """

    needs: Needs = _nothing
    requirements: bool = True
    packages: Mapping[str, str] = field(default_factory=dict)
    problems: Look = _no_problems
    notes: Look = _no_problems
    build: str = ""
    finish: str = ""
    migrate: str = ""
    console: tuple[str, ...] = ("python",)


def of(service: Service) -> Kind:
    """Return the kind of a service."""
    kind: str = getattr(service, "kind")  # noqa: B009 - every model of the union has it, but their base class does not
    return KINDS[kind]


def lock_of(service: Service) -> str:
    """Return the path of a service's lock inside its source."""
    return service.requirements if isinstance(service, DjangoService | PythonService) else LOCK


def packages(service: Service, locked: Collection[str]) -> Mapping[str, str]:
    """Return the packages that a service's lock must contain, with the reason for each; `locked` are those it has."""
    needed = dict(of(service).packages)
    if isinstance(service, DjangoService) and any("${database." in value for value in service.env.values()):
        if not any(name.startswith("psycopg") for name in locked):
            needed["psycopg[binary]"] = "with which Django uses PostgreSQL"
        elif {"psycopg"} == {name for name in locked if name in _DRIVERS} and "libpq5" not in service.packages:
            needed["psycopg[binary]"] = "and psycopg alone finds no libpq on a host"
    return needed


def variables(service: Service) -> dict[str, str]:
    """Return the shell variables that a service's kind adds to the script that builds a release."""
    if not isinstance(service, DjangoService):
        return {}
    # A process of the inventory that replaces Gunicorn is checked when it starts.
    wsgi = "" if MAIN in service.processes else f"{service.project}.wsgi:application"
    return {"wsgi": wsgi, "advice": django_files.STATIC_ROOT}


def _lock(service: Service, files: Sequence[str]) -> str:
    return f"its locked requirements, with hashes. Make it there: {lock_command(PYTHON, files, lock_of(service))}"


def _django_needs(service: Service, key: str, files: Sequence[str]) -> Mapping[str, str]:
    assert isinstance(service, DjangoService)
    wsgi = f"{service.project}/wsgi.py"
    needed = {
        service.requirements: _lock(service, files),
        "manage.py": "Django's command line",
        wsgi: "its WSGI application, in the package named by `project`",
    }
    if found := [file.removesuffix("/wsgi.py") for file in files if fnmatch.fnmatchcase(file, "*/wsgi.py")]:
        needed[wsgi] = f"its WSGI application. {key}.project names the package, here {one_of(found)}"
    return needed


def _django_problems(service: Service, files: Mapping[str, str]) -> Iterator[str]:
    assert isinstance(service, DjangoService)
    return django_look.problems(files, service)


def _django_notes(service: Service, files: Mapping[str, str]) -> Iterator[str]:
    assert isinstance(service, DjangoService)
    return django_look.notes(files, service)


def _static_needs(service: Service, key: str, _files: Sequence[str]) -> Mapping[str, str]:
    assert isinstance(service, StaticService)
    front = f"{service.folder}/index.html" if service.folder else "index.html"
    # A folder of files may have no front page.
    return {front: f"its front page. {key}.folder names the folder with the files"} if service.spa else {}


def _static_notes(service: Service, files: Mapping[str, str]) -> Iterator[str]:
    assert isinstance(service, StaticService)
    if static_paths.without_front_page(service, files):
        place = f"{service.folder}/" if service.folder else "the source"
        yield f"{place} has no index.html, so / is answered 404"


_DJANGO_BUILD = """\
# The health page may touch no URL: without this, a broken view would go live.
manage "$new" check
install -d -o "$account" "$new/static"
said=$(manage "$new" collectstatic --noinput 2>&1) || { printf '%s\n' "$said" | tail -n 8; echo "$advice"; exit 1; }
case $said in
*"/staging/static'"*) ;;
*" copied to '"*)
    printf '%s\n' "$said" | tail -n 1
    echo "$advice"
    exit 1
    ;;
esac
"""

_DJANGO_FINISH = """\
chown -R root:root "$new/static"
(cd "$new/static" && find . -type f -print0) >"$new/static.files"
# Whether it can be loaded is known before anything that cannot be undone, such as a migration.
[ -z "$wsgi" ] || in_release "$new" gunicorn --check-config --worker-tmp-dir /dev/shm "$wsgi"
"""

# A migration that waits for a lock makes all other queries wait behind it: better to fail the deploy than the site.
_DJANGO_MIGRATE = r"""export PGOPTIONS='-c lock_timeout=20s'
manage "$home/releases/$id" migrate --check --verbosity 0 || {
    said=$home/releases/$id/migrate.out
    rm -f "$said.failed"
    { manage "$home/releases/$id" migrate --noinput --no-color || : >"$said.failed"; } | tee "$said"
    # For inv rollback, which does not undo migrations.
    sed -n 's/^ *Applying \([^ ]*\)\.\.\. *OK$/\1/p' "$said" >>"$home/releases/$id/migrations"
    rm "$said"
    [ ! -e "$said.failed" ]
}
"""

KINDS: Mapping[str, Kind] = {
    "django": Kind(
        needs=_django_needs,
        packages={"gunicorn": "which runs the service", "django": "which manage.py needs"},
        problems=_django_problems,
        notes=_django_notes,
        build=_DJANGO_BUILD,
        finish=_DJANGO_FINISH,
        migrate=_DJANGO_MIGRATE,
        console=("manage.py", "shell"),
    ),
    "static": Kind(needs=_static_needs, notes=_static_notes, requirements=False, console=("sh",)),
    "python": Kind(needs=lambda service, _key, files: {lock_of(service): _lock(service, files)}),
    "binary": Kind(requirements=False, console=("sh",)),
}
