"""The model of an inventory: the sections of every stack. Roles add their own keys; see shape.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from plainstack import state_folder
from plainstack.inventory.held import Held
from plainstack.inventory.lab_settings import LabSettings
from plainstack.inventory.notify import Notify
from plainstack.inventory.sections import Host, Model, SecretStore, Ssh
from plainstack.inventory.services import AnyService
from plainstack.inventory.values import FilePath, Name

Settings = TypeVar("Settings", bound=Model)


class StillServed(Model):
    """Old ports and databases that hosts keep serving after a change until their peers have switched.

    These are ports by service, and database names. They are observed on the hosts, never written in the inventory; see
    plainstack.engine.transition.
    """

    ports: dict[str, tuple[int, ...]] = Field({})
    databases: tuple[str, ...] = ()


class Stack(Model):
    """A whole inventory. `folder` is the folder of the inventory file; relative paths start there.

    `still` and `held` are observed on the hosts, never written in the inventory.
    """

    folder: Path = Path()
    still: StillServed = StillServed()
    held: Held = Held()
    stack: Name = Field(description="The stack's name; an operator's stacks must have different names.")
    extends: FilePath | None = Field(
        None,
        description="The inventory to inherit from: mappings are merged, other values replaced, null removes a key.",
    )
    ssh: Ssh = Field(Ssh(), description="How the operator's machine reaches the hosts.")
    hosts: dict[Name, Host] = Field(min_length=1, description="The stack's machines by name.")
    services: dict[Name, AnyService] = Field({}, description="The applications of the stack, by name.")
    secrets: SecretStore = Field(SecretStore(), description="Where generated passwords and keys are kept.")
    notify: Notify = Field(Notify(), description="Notifications about commands that changed something.")
    lab: LabSettings = Field(LabSettings(), description="How `inv lab.up` sets up the hosts and links of a lab.")

    def given(self, model: type[Settings]) -> Settings | None:
        """Return the settings of a role, or None if the inventory leaves them out and they have no default."""
        return next((value for value in self.__dict__.values() if isinstance(value, model)), None)

    def settings(self, model: type[Settings]) -> Settings:
        """Return the settings of a role. Raises LookupError if they are left out and have no default."""
        found = self.given(model)
        if found is None:
            raise LookupError(f"the stack {self.stack} has no {model.__name__} settings")
        return found

    def changed(self, settings: Model) -> Stack:
        """Return a copy of the stack with other settings for one role."""
        key = next(key for key, value in self.__dict__.items() if type(value) is type(settings))
        return self.model_copy(update={key: settings})

    def with_role(self, role: str) -> list[Host]:
        """Return the hosts with a role, in the order of the inventory."""
        return [host for host in self.hosts.values() if role in host.roles]

    def file(self, path: Path) -> Path:
        """Return a path of the inventory, resolved against the folder of the inventory."""
        return _plain(self.folder / path)

    @property
    def state(self) -> Path:
        """The folder on the operator's machine with Plainstack's own files about this stack (ignored by git)."""
        return self.folder / state_folder.NAME / self.lab_name

    @property
    def lab_name(self) -> str:
        """The name of the lab that hosts this stack."""
        return self.lab.name or self.stack

    @property
    def in_lab(self) -> bool:
        """Whether the hosts are lab hosts on this machine."""
        return self.ssh.gateway == "lab"


def _plain(path: Path) -> Path:
    """Return a path without `..`, as messages should show it, if it then still names the same file."""
    if ".." not in path.parts:
        return path
    plain = Path(os.path.normpath(path))
    try:
        return plain if plain.samefile(path) else path
    except OSError:
        # One that does not exist, or cannot be reached, is the same either way unless a link is among its folders.
        return plain if plain.resolve() == path.resolve() else path
