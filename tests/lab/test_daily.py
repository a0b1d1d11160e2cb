"""An operator's daily work: reading the logs of several hosts as one, running commands in a service's environment."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plainstack.lab import container
from plainstack.lab.of_inventory import of
from tests.lab.commands import await_output
from tests.lab.conftest import Operator
from tests.lab.test_secrets import stack_of
from tests.waiting import PATIENCE, until

HOSTS = ("app1", "app2", "db1", "db2")
APPS = HOSTS[:2]

# Writes lines as a process of the service, and stays alive until the journal has looked up the process's unit.
WRITE = """
group=$(systemctl show --property=ControlGroup --value plainstack-web.service)
echo $$ >/sys/fs/cgroup$group/cgroup.procs
exec systemd-cat --identifier=gunicorn sh -c 'for line; do echo "$line"; done; journalctl --sync' - {lines}
"""


def write(deployed: Operator, host: str, *lines: str) -> None:
    """Let the service log lines on a host, even if the host is cut off."""
    lab = of(stack_of(deployed))
    container.run(lab, lab.host(host), WRITE.format(lines=" ".join(lines)))


def line_of(deployed: Operator, *words: str) -> list[str]:
    name, *more = words
    return [str(Path(sys.executable).with_name("inv")), name, f"--inventory={deployed.inventory}", *more]


def typed(deployed: Operator, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with input from a pipe."""
    line = line_of(deployed, *words)
    ran = subprocess.run(line, cwd=deployed.project, input=given, capture_output=True, text=True, timeout=PATIENCE)
    assert "Traceback" not in ran.stderr
    return ran


@contextmanager
def running(deployed: Operator, *words: str) -> Iterator[subprocess.Popen[str]]:
    line = line_of(deployed, *words)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, cwd=deployed.project, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def shown(text: str) -> list[tuple[str, str]]:
    """Return the host and message of each line that the service web logged."""
    lines = [re.fullmatch(r"(\S+) +\S+Z web\[[0-9]+\]: (.*)", line) for line in text.splitlines()]
    return [(match[1], match[2]) for match in lines if match]


def test_logs_of_two_hosts_are_merged_in_order(deployed: Operator) -> None:
    turns = [("app1", "daily-1"), ("app2", "daily-2"), ("app1", "daily-3"), ("app2", "daily-4")]
    for host, text in turns:
        write(deployed, host, text)
    done = deployed.inv("logs", "web", "--grep=^daily-[0-9]", "--since=10m")
    assert shown(done.out) == turns
    last = deployed.inv("logs", "web", "--grep=^daily-[0-9]", "--lines=3")
    assert shown(last.out) == turns[1:]
    assert "these are the last 3; for more: --lines=30 or --lines=all" in last.err
    one = json.loads(deployed.inv("logs", "plainstack-web", "--grep=^daily-4", "--host=app2", "--json").out)
    assert [(entry["host"], entry["message"]) for entry in one["entries"]] == [turns[3]]
    everything = deployed.inv("logs", f"--host={','.join(APPS)}").out
    assert shown(everything)[-1] == turns[3]
    assert " sshd[" not in everything
    wrong = deployed.inv("logs", "wbe", f"--host={','.join(APPS)}", code=1)
    assert "no service, role or unit is called 'wbe', did you mean 'web'?" in wrong.err


def test_following_continues_after_a_host_was_cut_off(deployed: Operator) -> None:
    with running(deployed, "logs", "web", "--follow", "--grep=^beat-[0-9]") as process:
        assert process.stdout
        # If following has not begun yet, these lines are shown as well: they are then among the last lines.
        write(deployed, "app1", "beat-1")
        write(deployed, "app2", "beat-2")
        seen = await_output(process, "beat-2")
        deployed.inv("lab.break", "app2", "--cut")
        try:
            write(deployed, "app2", "beat-3", "beat-4")
            seen += await_output(process, "app2: the connection was lost")
            write(deployed, "app1", "beat-5")
            seen += await_output(process, "beat-5")
        finally:
            deployed.inv("lab.mend", "app2")
        seen += await_output(process, "app2: is back")
        seen += await_output(process, "beat-4")
        write(deployed, "app2", "beat-6")
        seen += await_output(process, "beat-6")
        process.send_signal(signal.SIGINT)
        seen += process.stdout.read()
        assert process.wait(PATIENCE) == 0
    assert "Traceback" not in seen
    assert sorted(shown(seen)) == [
        ("app1", "beat-1"),
        ("app1", "beat-5"),
        ("app2", "beat-2"),
        ("app2", "beat-3"),
        ("app2", "beat-4"),
        ("app2", "beat-6"),
    ]
    assert seen.count("app2: the connection was lost") == 1
    for host in APPS:
        deployed.on(host, "while grep -qx journalctl /proc/[0-9]*/comm; do sleep 0.05; done")


def test_a_command_runs_in_the_environment_of_the_service(deployed: Operator) -> None:
    script = 'id -un; pwd -P; echo "$RELEASE"; echo "${#DB_PASSWORD}"; command -v python; umask; exit 7'
    ran = typed(deployed, "exec", "web", "--", "sh", "-c", script)
    assert ran.returncode == 7, ran
    account, folder, release, secret, python, mask = ran.stdout.split()
    assert (account, folder, mask) == ("app-web", f"/srv/web/releases/{release}/source", "0027")
    assert int(secret) > 0
    assert python == f"/srv/web/releases/{release}/venv/bin/python"
    checked = typed(deployed, "exec", "web", "--all", "manage.py", "check")
    assert re.findall(r"^(app[12]): System check identified no issues", checked.stdout, re.MULTILINE) == [*APPS]
    assert checked.returncode == 0


def test_input_and_exit_codes_are_passed_through(deployed: Operator) -> None:
    ran = typed(deployed, "exec", "web", "--host=app2", "--", "python", "-", given="import os; print(os.uname()[1])")
    assert (ran.returncode, ran.stdout) == (0, "app2\n")
    missing = typed(deployed, "exec", "web", "--", "no-such-program")
    assert (missing.returncode, "no-such-program: no such command" in missing.stderr) == (127, True)
    console = typed(deployed, "console", "web", given="from django.conf import settings\nprint(settings.DEBUG)\n")
    assert (console.returncode, console.stdout.split()[-1]) == (0, "False"), console
    events = json.loads(deployed.inv("log", "--json", "--host=app2").out)
    mine = [event for event in events if event["role"] == "exec web"]
    assert [(event["actions"], event["result"]) for event in mine[-1:]] == [(["python -"], "started")]


def test_ctrl_c_interrupts_the_command_and_its_exit_code_is_passed_on(deployed: Operator) -> None:
    script = "trap 'echo tidied; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    with running(deployed, "exec", "web", "--", "sh", "-c", script) as process:
        await_output(process, "ready")
        process.send_signal(signal.SIGINT)
        await_output(process, "tidied")
        assert process.wait(PATIENCE) == 9


def test_a_command_ends_if_its_output_is_not_read(deployed: Operator) -> None:
    with running(deployed, "exec", "web", "--", "sh", "-c", "while :; do echo daily-flood; done") as process:
        await_output(process, "daily-flood")
        assert process.stdout
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
    deployed.on("app1", "while grep -q 'daily-floo[d]' /proc/[1-9]*/cmdline; do sleep 0.05; done 2>/dev/null")


def test_a_command_gets_a_terminal_if_the_operator_has_one(deployed: Operator) -> None:
    person, program = pty.openpty()
    os.set_blocking(person, False)
    termios.tcsetwinsize(program, (31, 97))
    line = line_of(deployed, "exec", "web", "--", "sh", "-c", "stty size; read -r line; echo got $line; exit 3")
    heard = b""

    def read() -> bytes:
        nonlocal heard
        with suppress(BlockingIOError):
            heard += os.read(person, 65536)
        return heard

    with subprocess.Popen(line, cwd=deployed.project, stdin=program, stdout=program, stderr=program) as process:
        until(lambda: b"31 97" in read())
        os.write(person, b"hello\r")
        until(lambda: b"got hello" in read())
        assert process.wait(PATIENCE) == 3
    os.close(person)
    os.close(program)


def test_a_shell_reads_commands_from_a_pipe(deployed: Operator) -> None:
    ran = typed(deployed, "shell", "app1", given="hostname; id -un; sudo -n id -un; exit 4\n")
    assert (ran.returncode, ran.stdout.split()[-3:]) == (4, ["app1", "ops", "root"]), ran
