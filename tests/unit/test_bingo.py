"""The stand-in program of the second stand: it can be interrupted, needs time to start, and falls sick."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests import postgresql
from tests.ports import free_port
from tests.unit.conftest import ROOT
from tests.waiting import PATIENCE, until

SOURCE = ROOT / "apps/bingo"
SICK = (500, "We all gonna die\n")


def build(folder: Path) -> Path:
    """Build the program from a copy of its source, and return its path."""
    words = ["cp", "-r", f"{SOURCE}/src", f"{SOURCE}/build.py", str(folder)]
    subprocess.run(words, check=True)
    subprocess.run([sys.executable, str(folder / "build.py")], check=True)
    return folder / "bingo"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def database() -> Iterator[Path]:
    with postgresql.running() as folder:
        yield folder


def configured(folder: Path, **settings: object) -> str:
    file = folder / "bingo.json"
    file.write_text(json.dumps({"start_seconds": 0, "prepare_seconds": 0, **settings}), encoding="utf-8")
    return str(file)


def parameters(database: Path) -> dict[str, str]:
    return {"host": str(database), "user": "test", "dbname": "postgres"}


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Start the program with the tests' Python, which has its library, and end it."""
    with subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def await_answers(port: int) -> None:
    def answers() -> bool:
        with suppress(OSError):
            return bool(get(port, "/ping"))
        return False

    until(answers, "the server does not listen")


@pytest.mark.programs
def test_the_same_source_makes_the_same_executable_file(program: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert again.read_bytes() == program.read_bytes()
    assert os.access(again, os.X_OK)
    assert again.read_bytes().startswith(b"#!/usr/bin/python3\n")


@pytest.mark.programs
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is not an object"),
        ("{", "is not JSON"),
        ('{"sesions": 1}', "unknown key 'sesions'; known: "),
        ('{"sessions": "1"}', "sessions is not a number from 1"),
        ('{"start_seconds": -1}', "start_seconds is not a number from 0"),
        ('{"database": {"port": 5432}}', "database is not an object of strings"),
    ],
)
def test_an_unusable_configuration_is_reported_with_its_key(
    program: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "bingo.json").write_text(text, encoding="utf-8")
    words = [sys.executable, str(program), "prepare_db", str(tmp_path / "bingo.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"bingo: {tmp_path}/bingo.json: " in done.stderr
    assert said in done.stderr


@pytest.mark.programs
@postgresql.needed
def test_an_interrupted_prepare_db_continues_where_it_was(program: Path, database: Path, tmp_path: Path) -> None:
    where = parameters(database)
    slow = configured(tmp_path, database=where, customers=150, sessions=1050, prepare_seconds=600)
    with started(program, "prepare_db", slow) as process:
        assert process.stdout
        assert next(process.stdout) == "1% of customers and sessions\n"
        process.kill()
    # The number of rows is that of the first run, because parts of it are stored.
    fast = configured(tmp_path, database=where, customers=1, sessions=1)
    with started(program, "prepare_db", fast) as process:
        said = process.communicate()[0].splitlines()
    assert said[0].startswith("going on after ")
    assert (said[-1], process.returncode) == ("150 customers and 1050 sessions are there", 0)
    assert "1% of customers and sessions" not in said
    with psycopg.connect(make_conninfo(**where)) as connection:
        for table, count in (("customers", 150), ("sessions", 1050)):
            row = connection.execute(f"select count(*), count(distinct id), max(id) from {table}").fetchone()
            assert row == (count, count, count)
    with started(program, "prepare_db", fast) as process:
        assert process.communicate()[0] == "the tables are complete; there is nothing to do\n"


@pytest.mark.programs
@postgresql.needed
def test_the_server_answers_its_pages_from_the_database(program: Path, database: Path, tmp_path: Path) -> None:
    where = parameters(database) | {"dbname": "template1"}
    file = configured(tmp_path, database=where, customers=2, sessions=3)
    with started(program, "prepare_db", file) as process:
        process.communicate()
    port = free_port()
    with started(program, "run_server", file, f"127.0.0.1:{port}"):
        await_answers(port)
        assert get(port, "/ping") == (200, "pong\n")
        assert get(port, "/db_dummy") == (200, "ok\n")
        status, text = get(port, "/session/3?again")
        assert (status, json.loads(text)["customer"]) == (200, "customer 2")
        assert [get(port, path)[0] for path in ("/session/4", "/session/x", "/")] == [404, 404, 404]
        # Connections that the database has closed are replaced.
        with psycopg.connect(make_conninfo(**parameters(database)), autocommit=True) as connection:
            # With a time limit, it returns when their processes have ended.
            ended = f"select pg_terminate_backend(pid, {PATIENCE}000) from pg_stat_activity"
            connection.execute(f"{ended} where application_name = 'bingo'")
        assert get(port, "/db_dummy") == (200, "ok\n")


@pytest.mark.programs
def test_without_its_database_only_the_pages_that_need_it_fail(program: Path, tmp_path: Path) -> None:
    port = free_port()
    file = configured(tmp_path, database={"host": str(tmp_path)})
    with started(program, "run_server", file, f"127.0.0.1:{port}"):
        await_answers(port)
        assert [get(port, path)[0] for path in ("/ping", "/db_dummy", "/session/1")] == [200, 503, 503]


@pytest.mark.programs
def test_after_some_requests_everything_is_answered_with_500_until_a_restart(program: Path, tmp_path: Path) -> None:
    port = free_port()
    words = (program, "run_server", configured(tmp_path, sick_after_requests=20), f"127.0.0.1:{port}")
    for _ in range(2):
        with started(*words):
            await_answers(port)
            assert get(port, "/ping") == (200, "pong\n")
            for _ in range(20):
                get(port, "/ping")
            assert [get(port, path) for path in ("/ping", "/nothing")] == [SICK, SICK]


@pytest.mark.programs
def test_a_signal_makes_it_sick_at_once(program: Path, tmp_path: Path) -> None:
    port = free_port()
    with started(program, "run_server", configured(tmp_path), f"127.0.0.1:{port}") as process:
        await_answers(port)
        process.send_signal(signal.SIGUSR1)
        until(lambda: get(port, "/ping") == SICK)


@pytest.mark.programs
def test_it_ends_politely_also_while_it_starts_and_with_an_idle_connection(program: Path, tmp_path: Path) -> None:
    port = free_port()
    slow = configured(tmp_path, start_seconds=600)
    with started(program, "run_server", slow, f"127.0.0.1:{port}") as process:
        assert process.stdout
        assert next(process.stdout) == "starting, which takes 600 s\n"
        process.terminate()
        assert process.wait(30) == 0
    with started(program, "run_server", configured(tmp_path), f"127.0.0.1:{port}") as process:
        await_answers(port)
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        idle.request("GET", "/ping")
        idle.getresponse().read()
        late = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        late.connect()
        late.request("GET", "/ping")
        process.terminate()
        assert late.getresponse().status == 200
        assert process.wait(30) == 0
