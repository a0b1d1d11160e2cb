"""`--help` of every command says what the command does and explains every option."""

from __future__ import annotations

import subprocess

import pytest

from plainstack.shipped import ROOT
from tasks import namespace
from tests import prestarted
from tests.waiting import PATIENCE


@pytest.mark.parametrize("words", ["fab failover", *(f"inv {name}" for name in namespace.task_names)])
def test_help_describes_every_command_and_every_option(words: str) -> None:
    program, *task = words.split()
    line = [*prestarted.program(program), *task, "--help"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    said, _, options = ran.stdout.partition("Options:")
    assert len(said.partition("Docstring:")[2].split()) > 4
    explained = [line for line in options.splitlines() if line.lstrip().startswith("-")]
    assert explained
    assert [line for line in explained if len(line.split()) < 4] == []


HOW = "inv plan --help describes it"
DRY = "--dry has no effect on inv deploy, which would make its changes; inv plan shows what inv deploy would change"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("inv deplyo", "there is no command 'deplyo', did you mean 'deploy'?"),
        ("inv --help lab.don", "there is no command 'lab.don', did you mean 'lab.down'?"),
        ("inv deploy --hots=db1", "there is no option '--hots' of inv deploy, did you mean '--host'?"),
        ("inv deploy --zzz", "there is no option '--zzz' of inv deploy; inv deploy --help shows them all"),
        ("inv zzz", "there is no command 'zzz'; inv --list shows them all"),
        ("inv --zzz", "there is no option '--zzz'; inv --help shows them all"),
        ("inv -i hosts.yaml plan", "the option '-i' belongs after the command: inv plan -i"),
        ("inv --host=db1 plan", "the option '--host' belongs after the command: inv plan --host"),
        ("inv plan --host", f"inv plan: --host needs a value; {HOW}"),
        ("inv plan -h --json", f"inv plan: --host needs a value; {HOW}"),
        ("inv plan --host=", "inv plan: --host= has no value; leave it out for its default"),
        ("inv plan verify --host=", "inv verify: --host= has no value; leave it out for its default"),
        ("inv plan --host=,", "--host=',' has no names; leave it out to mean all"),
        ("inv stop web --host=,", "--host=',' has no names; leave it out to mean all"),
        ("inv exec web --host=, -- id", "--host=',' has no names; leave it out to mean all"),
        ("inv teardown -- --host=db1", "inv teardown takes no words after --: '--host=db1'; leave the -- out"),
        ("inv -- deploy", "inv takes no words after --: 'deploy'; leave the -- out"),
        ("fab failover status -- id", "fab failover takes no words after --: 'id'; leave the -- out"),
        ("inv deploy --dry", DRY),
        ("inv -R deploy", DRY),
        ("inv deploy --version", "--version stands alone: inv --version"),
        (
            "fab -H db1 failover rejoin --yes",
            "-H selects no hosts for fab failover; fab failover --help shows how to",
        ),
        ("inv help", "there is no command 'help'; inv --list shows all commands, and inv COMMAND --help describes one"),
        ("inv lab", "there is no command 'lab'; inv --list lab shows the commands that begin with it"),
        ("inv plan --json=yes", "inv plan: --json takes no value"),
        ("inv plan --role db --role app", "inv plan: --role is given twice; for several names: --role=db,app"),
        ("inv plan -h db1 -h=db2", "inv plan: -h is given twice; for several names: -h=db1,db2"),
        ("inv logs --since=1h --since=2h", "inv logs: --since is given twice"),
        (
            "inv plan --host=db1 db2",
            "inv plan does not take the word 'db2', and there is no such command; see inv plan --help",
        ),
        ("inv log --last=few", "inv log: --last=few is not a number"),
        ("inv log --last few", "inv log: --last=few is not a number"),
        ("inv log --last=", "inv log: --last= is not a number"),
        ("inv log --last=0", "--last=0: write how many of the last events to show, such as 20"),
        ("inv secrets.set", "inv secrets.set needs NAME: inv secrets.set NAME; inv secrets.set --help describes it"),
        ("fab failover", "fab failover needs ACTION: fab failover ACTION; fab failover --help describes it"),
        ("fab failover drill --to=", "fab failover: --to= has no value; leave it out for its default"),
        (
            "fab failover drill --zzz=3",
            "there is no option '--zzz' of fab failover; fab failover --help shows them all",
        ),
        ("fab failovr", "there is no command 'failovr', did you mean 'failover'?"),
    ],
)
def test_a_command_line_that_cannot_be_understood_is_explained(words: str, said: str) -> None:
    program, *line = words.split()
    ran = subprocess.run(
        [*prestarted.program(program), *line], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"{said}\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["inv", "deploy", ""], "inv deploy: there is an empty word, such as an unset variable; leave it out"),
        (["inv", "logs", "", "web"], "inv logs: --of= has no value; leave it out for its default"),
        (["inv", "a\nb"], "there is no command 'a\\nb'; inv --list shows them all"),
        (["inv", "deploy", "--host", b"\xff"], "unknown host '\\udcff'"),
        (["inv", "plan", "--inventory", "/dev/zero"], "/dev/zero: is no regular file"),
    ],
)
def test_unusual_words_are_shown_as_they_are(line: list[str | bytes], said: str) -> None:
    program, *words = line
    ran = subprocess.run(
        [*prestarted.program(str(program)), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(said)


def test_short_options_are_letters_and_deploy_has_none_that_reads_as_a_dry_run_and_is_harmful() -> None:
    contexts = {context.name: context for context in namespace.to_contexts()}
    for name, context in contexts.items():
        assert not {"-", "--"} & {*context.flag_names()}, name
    assert contexts["deploy"].flags["-n"].name == "no_notify"
