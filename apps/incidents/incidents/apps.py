from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register


class IncidentsConfig(AppConfig):
    name = "incidents"

    def ready(self) -> None:
        register(limits_are_known)


def limits_are_known(**_: Any) -> list[Error]:
    """Report variables such as LIMIT_MEM, which nothing would read."""
    from incidents.kinds import KINDS, OverLimit

    names = [kind.name.upper() for kind in KINDS]
    known = [f"LIMIT_{kind.name.upper()}" for kind in KINDS if isinstance(kind, OverLimit)]
    known += [f"LIMIT_{name}_MINUTES" for name in names]
    return [
        Error(
            f"{name} is not a setting of this application", hint=f"There are {', '.join(known)}.", id="incidents.E001"
        )
        for name in settings.LIMITS
        if name not in known
    ]
