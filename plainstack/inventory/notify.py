"""The key `notify`: notifications about what a command did."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plainstack.inventory.sections import Model
from plainstack.inventory.service_values import EnvironmentName, EnvironmentValue, HeaderName, ShellLine
from plainstack.inventory.values import Int


class NotifySecret(Model):
    """A secret of the notifications: set by a person, or printed by a command."""

    command: ShellLine | None = Field(
        None, description="A shell command on the operator's machine that prints the value, such as `pass show chat`."
    )


class Notify(Model):
    """Notifications that the operator's machine sends after a command has changed something."""

    command: ShellLine | None = Field(
        None, description="A shell command that gets a JSON document on its standard input."
    )
    webhook: EnvironmentValue | None = Field(
        None, description="A URL that the JSON document is posted to; `${secret.NAME}` stands for a secret."
    )
    headers: dict[HeaderName, EnvironmentValue] = Field(
        {}, description="Headers for the webhook, such as Authorization; `${secret.NAME}` stands for a secret."
    )
    secrets: dict[EnvironmentName, NotifySecret] = Field(
        {}, description="Secrets for the URL and the headers; `inv secrets.set notify/NAME` sets one."
    )
    timeout: Annotated[Int, Field(ge=1, le=60)] = Field(
        10, description="Seconds after which a notification is abandoned, so that no command waits for long."
    )
