"""Programs on this host reach the primary of the cache."""

from __future__ import annotations

from typing import Any

import pytest

from plainstack.inventory.stack import Stack
from plainstack.roles.cache.settings import PORT

ROLE = "cache_client"


def test_programs_reach_the_primary_of_the_cache(host: Any, stack: Stack) -> None:
    """Send a command without a password: the error NOAUTH shows that Valkey itself answers through the proxy."""
    if not stack.with_role("cache"):
        pytest.skip("the stack has no cache")
    ask = rf"exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf \"PING\r\n\" >&3; head -n 1 <&3"
    found = host.run(f"timeout 60 bash -c \"until timeout 3 bash -c '{ask}' | grep NOAUTH; do sleep 0.5; done\"")
    assert found.succeeded, f"nothing answers at 127.0.0.1:{PORT} within 60 s: journalctl -u plainstack-cache-proxy"
