"""The scripts of failover steps: every step has one that sh can read, and what must come first comes first."""

from __future__ import annotations

import subprocess

import pytest

from plainstack.database.failover import Do, Step
from plainstack.database.observation import observed, parse, script
from plainstack.database.steps import body
from plainstack.database.steps import script as step_script
from plainstack.stack import Stack


@pytest.mark.parametrize("do", list(Do))
def test_every_step_is_a_script_that_sh_can_read(stack: Stack, do: Do) -> None:
    step = Step(do, "db1", "what 'it' does", ("db2",))
    text = step_script(stack, step, "me@here", "-", "fab failover rejoin --host='db1'")
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    leftovers = text.replace("@AT@", "").replace("@RESULT@", "")
    assert not [word for word in ("@LEADER@", "@SELF@", "@SLOT@", "@URL@", "@HINT@", "@DB@") if word in leftovers]


def test_a_server_is_marked_as_a_standby_before_it_stops_or_starts(stack: Stack) -> None:
    for do, verb in ((Do.STEP_DOWN, "kill -INT"), (Do.START, "systemctl start")):
        text = body(stack, Step(do, "db1", ""))
        assert text.index("touch /var/lib/postgresql/17/main/standby.signal") < text.index(verb)


def test_the_mark_that_keeps_a_server_out_is_on_disk_before_it_is_stopped(stack: Stack) -> None:
    text = body(stack, Step(Do.KEEP_OUT, "db1", ""))
    assert text.index("sync /var/lib/plainstack/fenced") < text.index("systemctl stop")


def test_a_lone_primary_is_taken_out_of_waiting_before_it_is_promoted(stack: Stack) -> None:
    text = body(stack, Step(Do.PROMOTE_ALONE, "db2", ""))
    assert text.index("synchronous_standby_names = ''") < text.index("pg_promote")


def test_what_a_host_says_becomes_its_node() -> None:
    said = """data=yes
running=yes
recovery=false
timeline=4
lsn=0/713E478
synchronous=ANY 1 ("db1", "db2")
sender.db2=streaming|quorum|120|0.25
sender.barman_receive_wal=streaming|async|0|
slot.db2=t|reserved|943718400
slot.barman=f|-|
fence.db3=yes
answer.db2=yes
degraded=2026-11-22T01:50:22Z
"""
    node = observed("db1", parse(said))
    assert (node.state, node.timeline, node.degraded) == ("primary", 4, "2026-11-22T01:50:22Z")
    sender = node.sender("db2")
    assert sender is not None
    assert (sender.lag_bytes, sender.lag_seconds) == (120, 0.25)
    assert [(slot.name, slot.retained) for slot in node.slots] == [("barman", 0), ("db2", 943718400)]
    assert (set(node.fences), set(node.answering)) == ({"db3"}, {"db2"})
    assert observed("db2", None).state == "unreachable"
    assert "pg_isready" in script(["db2"])
    assert "pg_isready" not in script([])
