"""S3 in memory, whose clients share one copy of botocore's descriptions: to parse them takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import botocore.session
from botocore.loaders import create_loader
from moto import mock_aws


@cache
def _shared(path: str | None) -> Any:
    return create_loader(path)


@contextmanager
def in_memory() -> Iterator[None]:
    """Let every client find an S3 that is empty at first."""
    with mock.patch.object(botocore.session, "create_loader", _shared), mock_aws():
        yield
