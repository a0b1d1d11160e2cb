"""What the last runs achieved: a file that Plainstack reads, and metrics for the node exporter."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from destination import Destination, Failed


class Outcome:
    """The state of the copy. All that was received before `until` is in it; `copied` are the backups put there."""

    def __init__(self, place: Destination) -> None:
        self._path = place.folder / "second-copy.json"
        self._with_files = place.files is not None
        self._server = place.server
        known = _object(self._path)
        self.known: dict[str, Any] = known if known.get("to") == place.to else {"to": place.to}
        self.known["at"] = time.time()

    @property
    def copied(self) -> list[str]:
        """The ids of the backups that this host has copied, or fetched from the copy."""
        return list(self.known.get("copied", ()))

    @property
    def streamed(self) -> list[str]:
        """The names of the WAL files that were being received when they were copied."""
        return list(self.known.get("streamed", ()))

    def holds(self, copied: Collection[str], streamed: Collection[str] | None = None) -> None:
        """Record at once what the copy holds: only what is recorded may be pruned from it."""
        self.known["copied"] = sorted(copied)
        if streamed is not None:
            self.known["streamed"] = sorted(streamed)
        self._write()

    @property
    def files(self) -> list[str]:
        """The keys of the snapshots of services' folders that this host has copied, or fetched from the copy."""
        return list(self.known.get("files", ()))

    @property
    def damaged_files(self) -> list[str]:
        """The hashes of contents that a restore test found damaged or missing in the copy."""
        return list(self.known.get("damaged_files", ()))

    def holds_files(self, keys: Collection[str]) -> None:
        """Record at once which snapshots of services' folders the copy holds."""
        self.known["files"] = sorted(keys)
        self._write()

    def files_damaged(self, digests: Collection[str]) -> None:
        """Record contents that are damaged or missing in the copy: the next run replaces those that this host has."""
        self.known["damaged_files"] = sorted({*self.damaged_files, *digests})
        self._write()

    def repaired(self, digests: Collection[str]) -> None:
        """Record that contents were replaced in the copy."""
        if digests:
            self.known["damaged_files"] = sorted(set(self.damaged_files) - set(digests))
            self._write()

    def files_done(self, until: float) -> None:
        """Record that all snapshots that existed at this time are in the copy."""
        self.known["files_until"] = until
        self._finish()

    def done(self, **values: Any) -> None:
        """Record success; `first` is when a copy to this destination first succeeded."""
        self.known = {"first": self.known["at"]} | self.known | {"ok": True, "kind": "", "problem": "", **values}
        self._finish()

    def failed(self, error: Failed) -> None:
        """Record a failure; what earlier runs copied remains true."""
        self.known |= {"ok": False, "kind": error.kind, "problem": str(error)}
        self._finish()

    def checked(self) -> None:
        """Record that a copy is possible."""
        self.known |= {"ok": True, "kind": "", "problem": ""}
        self._finish()

    def _finish(self) -> None:
        self.known["seconds"] = round(time.time() - self.known["at"], 1)
        self._write()

    def _write(self) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(json.dumps(self.known))
        new.chmod(0o644)
        new.replace(self._path)

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        values = {
            "plainstack_second_copy_ok": (int(self.known.get("ok", False)), "Whether the last copy succeeded."),
            "plainstack_second_copy_run_timestamp_seconds": (self.known["at"], "When the last copy began."),
            "plainstack_second_copy_until_timestamp_seconds": (
                self.known.get("until") or 0,
                "What had been received by then is in the second copy; 0 if nothing is.",
            ),
        }
        if self._with_files:
            values["plainstack_second_copy_files_until_timestamp_seconds"] = (
                self.known.get("files_until") or 0,
                "Snapshots of services' folders that were taken by then are in the second copy; 0 if none are.",
            )
        lines: list[str] = []
        for name, (value, text) in values.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f'{name}{{server="{self._server}"}} {value}']
        return "\n".join(lines) + "\n"


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
