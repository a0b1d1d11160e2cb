"""Where templates/, files/ and checks/ are looked for: in a stack's own folder first, then in what Plainstack ships."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from plainstack import shipped

_CHECK = "test_*.py"


@dataclass(frozen=True)
class Sources:
    """Folders that hold templates/, files/ and checks/; what the first has, it has instead of the others."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path | None = None) -> Sources:
        """Those of a stack whose inventory lies in `folder`; None for what is shipped alone."""
        own = () if folder is None or folder.resolve() == shipped.ROOT.resolve() else (folder.absolute(),)
        return cls((*own, shipped.ROOT))

    def within(self, kind: str) -> tuple[Path, ...]:
        """The folders of one kind, in the order they are looked in."""
        return tuple(folder / kind for folder in self.folders)

    def find(self, name: str) -> Path | None:
        """The file with this name below the folders, as in templates/base/etc/hosts.j2."""
        return next((path for folder in self.folders if (path := folder / name).is_file()), None)

    def checks(self) -> tuple[Path, ...]:
        """The modules of checks, each name once."""
        found: dict[str, Path] = {}
        for folder in self.within("checks"):
            for path in sorted(folder.glob(_CHECK)):
                found.setdefault(path.name, path)
        return tuple(found[name] for name in sorted(found))

    def shown(self, path: Path) -> str | None:
        """A file of these folders as a person finds it; None for any other."""
        for folder in self.folders:
            if path.is_relative_to(folder):
                name = path.relative_to(folder)
                kind = name.parts[0] if len(name.parts) > 1 else ""
                if kind in ("templates", "files", "checks"):
                    return str(name) if folder == shipped.ROOT else _near(path)
        return None

    def overrides(self, roles: Collection[str]) -> Mapping[str, str]:
        """The shipped files of these roles that a stack's own folder replaces: what each is called, and by which."""
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
    """Those of the stack that is rendered in this thread; outside of one, what is shipped."""
    return _current.get() or Sources.of()


@contextmanager
def used(sources: Sources) -> Iterator[None]:
    """Render with these."""
    outer = _current.set(sources)
    try:
        yield
    finally:
        _current.reset(outer)


def _near(path: Path) -> str:
    """A path as it is typed here."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
