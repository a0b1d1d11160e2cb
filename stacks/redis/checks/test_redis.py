"""What the role redis promises."""

from __future__ import annotations

from testinfra.host import Host as Machine


def test_redis_runs_and_starts_at_boot(host: Machine) -> None:
    redis = host.service("redis-server")
    assert redis.is_running
    assert redis.is_enabled


def test_redis_answers_only_with_its_password(host: Machine) -> None:
    assert "NOAUTH" in host.run("redis-cli ping 2>&1").stdout
    answer = host.run("REDISCLI_AUTH=\"$(sed -n 's/^requirepass //p' /etc/redis/redis.conf)\" redis-cli ping")
    assert answer.stdout.strip() == "PONG"
