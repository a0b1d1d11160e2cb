"""The building blocks of restore decisions: the steps that only a restore has, and its phases and plans."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum

from plainstack.dataclass import dataclass
from plainstack.postgresql.failover.phases import Step
from plainstack.postgresql.restore.situation import Situation


class Act(StrEnum):
    """The action of a step of a restore; step_scripts.py has the script of each."""

    RECORD = "record"
    MARK = "mark"
    PIN = "pin"
    RECOVER = "recover"
    CLOSE = "close"
    HALT = "halt"
    STAND_DOWN = "stand down"
    SILENCE = "silence"
    RECEIVE = "receive"
    PUT_ASIDE = "put aside"
    COPY = "copy"
    LEAD = "lead"
    RELEASE = "release"
    PUT_BACK = "put back"
    LEAD_AGAIN = "lead again"
    REANCHOR = "reanchor"
    BACKUP = "backup"
    RESUME = "resume"
    OPEN = "open"
    DROP_SCRATCH = "drop scratch"
    DISCARD = "discard"
    PREPARE_FILES = "prepare files"
    COPY_FILES = "copy files"
    SWAP_FILES = "swap files"
    UNDO_FILES = "undo files"
    DISCARD_FILES = "discard files"


@dataclass(frozen=True)
class RestoreStep:
    """One action on one host, like a failover's Step; `about` holds the words that its script needs."""

    do: Act
    host: str
    says: str
    about: tuple[str, ...] = ()
    optional: bool = False


AnyStep = Step | RestoreStep
Phase = tuple[AnyStep, ...]
"""Steps that run at the same time."""

Plan = Generator[Phase, Situation, None]
Part = Generator[Phase, Situation, Situation]
