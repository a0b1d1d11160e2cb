"""Visitors do not notice that a secret is replaced, or that the store gets other recipients."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from plainstack.secrets import store, store_files
from tests.lab.commands import await_output, kill, start
from tests.lab.conftest import Operator
from tests.lab.load import load
from tests.lab.test_secrets import stack_of
from tests.waiting import until

ROTATED = ("web/DJANGO_SECRET_KEY", "postgres/replicator", "postgres/streaming_barman", "postgres/app")


def test_no_request_fails_while_secrets_are_replaced(whole: Operator, tmp_path: Path) -> None:
    before = {name: store.read(stack_of(whole)).entries[name].value for name in ROTATED}
    with load(whole, tmp_path / "requests", rate=20) as requests:
        for name in ROTATED:
            whole.inv("secrets.rotate", name, timeout=1200)
    after = store.read(stack_of(whole)).entries
    counted, _ = requests.outcomes()
    assert [name for name in ROTATED if after[name].value == before[name]] == []
    assert set(counted) == {"get ok", "post ok"}, counted
    assert counted["post ok"] > 200
    assert whole.json("plan")["changes"] == {}
    _takes_the_new_account_only(whole)


def _takes_the_new_account_only(whole: Operator) -> None:
    odd = store.read(stack_of(whole)).entries["postgres/app"].handovers % 2
    now, before = ("app_a", "app_b")[odd], ("app_b", "app_a")[odd]
    rows = {row["host"]: row["database"] for row in whole.json("status", code=None)}
    primary = next(host for host, database in rows.items() if database.startswith("primary"))
    query = (
        "select string_agg(distinct usename, ' ') from pg_stat_activity where datname = 'shop' and usename like 'app%';"
        f"select rolpassword is null from pg_authid where rolname = '{before}';"
        "select string_agg(distinct tableowner, ' ') from pg_tables where schemaname = 'public'"
    )
    whole.on("app1", "curl -sS --max-time 60 -o /dev/null http://$(hostname -I | cut -d' ' -f1):8000/healthz")
    # A session of the old account ends a moment after its client.
    ask = f'runuser -u postgres -- psql -XAtq shop -c "{query}"'
    until(lambda: whole.on(primary, ask).split() == [now, "t", "app"], f"only {now} is used")


def test_a_token_is_accepted_for_its_grace_period_and_an_old_store_does_not_bring_it_back(
    whole: Operator,
) -> None:
    def post(token: str) -> str:
        body = '{"machine": "press-1", "metric": "temperature", "value": 20}'
        return whole.on(
            "app1",
            f"printf '%s' 'Authorization: Bearer {token}' >/dev/shm/header; curl -sS --max-time 60 -o /dev/null"
            " -w '%{http_code}' -H @/dev/shm/header -H 'Host: localhost' -H 'Content-Type: application/json'"
            f" -d '{body}' http://$(getent hosts app1 | cut -d' ' -f1):8000/api/samples; rm /dev/shm/header",
        )

    path = store_files.plain_path(stack_of(whole))
    colleagues = path.read_bytes()
    old = store.read(stack_of(whole)).entries["web/API_TOKEN"].value.reveal()
    whole.inv("secrets.rotate", "web/API_TOKEN", timeout=1200)
    new = store.read(stack_of(whole)).entries["web/API_TOKEN"].value.reveal()
    assert (post(old), post(new)) == ("201", "201")
    whole.inv("secrets.rotate", "web/API_TOKEN", "--revoke", timeout=1200)
    newest = store.read(stack_of(whole)).entries["web/API_TOKEN"].value.reveal()
    assert (post(old), post(new), post(newest)) == ("401", "401", "201")
    ours = path.read_bytes()
    try:
        path.write_bytes(colleagues)
        for command in ("plan", "deploy"):
            assert "this deploy would bring back the old values" in whole.inv(command, code=1).err
    finally:
        path.write_bytes(ours)
    assert post(newest) == "201"


def test_an_interrupted_rotation_continues(whole: Operator, tmp_path: Path) -> None:
    """The operator's process is killed: the site keeps working, and the same command continues the rotation."""
    with load(whole, tmp_path / "requests", rate=10) as requests:
        running = start(whole, "secrets.rotate", "postgres/app")
        await_output(running, "app1: app begins")
        kill(whole, running, "app1", "app2", "db1", "db2")
        begun = store.read(stack_of(whole)).entries["postgres/app"]
        assert begun.previous is not None
        assert (
            "continuing the unfinished rotation of postgres/app"
            in whole.inv("secrets.rotate", "postgres/app", timeout=1200).out
        )
    ended = store.read(stack_of(whole)).entries["postgres/app"]
    assert (ended.value, ended.handovers, ended.previous) == (begun.value, begun.handovers, None)
    counted, _ = requests.outcomes()
    assert set(counted) == {"get ok", "post ok"}, counted


def test_moving_the_store_to_the_teams_keys_changes_nothing_on_the_hosts(whole: Operator, tmp_path: Path) -> None:
    text = whole.inventory.read_text(encoding="utf-8")
    plain = store_files.plain_path(stack_of(whole))
    kept = plain.read_bytes()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "me")], check=True)
    public = (tmp_path / "me.pub").read_text(encoding="utf-8").strip()
    os.environ["PLAINSTACK_IDENTITY"] = str(tmp_path / "me")
    sealed = store_files.sealed_path(stack_of(whole))
    try:
        whole.inventory.write_text(f"{text}\nsecrets: {{recipients: [{public}]}}\n", encoding="utf-8")
        assert "nothing to do" in whole.inv("deploy").out
        assert sealed.exists()
        assert not plain.exists()
        whole.inventory.write_text(text, encoding="utf-8")
        assert "the inventory lists no secrets.recipients" in whole.inv("deploy", code=1).err
        assert not plain.exists()
    finally:
        del os.environ["PLAINSTACK_IDENTITY"]
        whole.inventory.write_text(text, encoding="utf-8")
        sealed.unlink(missing_ok=True)
        plain.write_bytes(kept)
        plain.chmod(0o600)
