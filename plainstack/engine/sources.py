"""The search path for templates/, files/ and checks/: first a stack's own folder, then the folder Plainstack ships."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from plainstack import shipped
from plainstack.dataclass import dataclass

_CHECK = "test_*.py"


@dataclass(frozen=True)
class Sources:
    """Folders that hold templates/, files/ and checks/; files in earlier folders override those in later ones."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path | None = None) -> Sources:
        """Return the sources of a stack whose inventory is in `folder`; None means the shipped sources only."""
        own = () if folder is None or folder.resolve() == shipped.ROOT.resolve() else (folder.absolute(),)
        return cls((*own, shipped.ROOT))

    def within(self, kind: str) -> tuple[Path, ...]:
        """Return the folders of one kind ("templates", "files" or "checks"), in search order."""
        return tuple(folder / kind for folder in self.folders)

    def find(self, name: str) -> Path | None:
        """Return the first file with this relative path, such as templates/base/etc/hosts.j2; None if there is none."""
        return next((path for folder in self.folders if (path := folder / name).is_file()), None)

    def checks(self) -> tuple[Path, ...]:
        """Return the check modules, each name once."""
        found: dict[str, Path] = {}
        for folder in self.within("checks"):
            for path in sorted(folder.glob(_CHECK)):
                found.setdefault(path.name, path)
        return tuple(found[name] for name in sorted(found))

    def shown(self, path: Path) -> str | None:
        """Return the path of a source file as shown to the operator; None if the file is not in these folders."""
        for folder in self.folders:
            if path.is_relative_to(folder):
                name = path.relative_to(folder)
                kind = name.parts[0] if len(name.parts) > 1 else ""
                if kind in ("templates", "files", "checks"):
                    return str(name) if folder == shipped.ROOT else _near(path)
        return None

    def overrides(self, roles: Collection[str]) -> Mapping[str, str]:
        """Return the shipped files of these roles that the stack overrides, each with the path of its replacement."""
        own, shipped_ones = self.folders[:-1], self.folders[-1]
        names = {
            str(path.relative_to(folder))
            for folder in own
            for role in roles
            for place, pattern in ((f"templates/{role}", "**/*"), (f"files/{role}", "**/*"), ("checks", _CHECK))
            for path in (folder / place).glob(pattern)
            if path.is_file() and (place != "checks" or path.stem == f"test_{role}")
        }
        replaced = [name for name in sorted(names) if (shipped_ones / name).is_file()]
        return {name: _near(found) for name in replaced if (found := self.find(name))}


_current: ContextVar[Sources | None] = ContextVar("sources", default=None)


def current() -> Sources:
    """Return the sources set by `used`; the shipped sources if there are none."""
    return _current.get() or Sources.of()


@contextmanager
def used(sources: Sources) -> Iterator[None]:
    """Make these the current sources within a `with` block."""
    outer = _current.set(sources)
    try:
        yield
    finally:
        _current.reset(outer)


def _near(path: Path) -> str:
    """Return a path relative to the working directory, if it is below it."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
