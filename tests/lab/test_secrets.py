"""No secret is shown: not in an output, a process list, a log or a file that others may read."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from plainstack.inventory.stack import Stack
from plainstack.secrets import store
from plainstack.secrets.values import scram_verifier
from tests import inventories
from tests.lab.conftest import Done, Operator
from tests.waiting import until

# Folders where programs keep files that others than their owner might read.
PLACES = "/etc /srv /opt /root /home /tmp /run /usr/local /var/lib /var/log /var/tmp /var/backups /var/spool /dev/shm"

# The secrets are given to grep in a file: on its command line, grep itself would leak them.
SEARCH = """
umask 077
cd /
seek=$(mktemp -d /root/seek.XXXXXX)
trap 'rm -r "$seek"' EXIT
cat >"$seek/patterns" <<'PATTERNS'
{patterns}
PATTERNS
grep -rlaF --devices=skip -f "$seek/patterns" {places} 2>/dev/null | grep -vF "$seek" | while read -r file; do
    if setpriv --reuid=nobody --regid=nogroup --clear-groups test -r "$file"; then echo "readable $file"; fi
    echo "found $file"
done
journalctl --no-pager --all --output=cat | grep -aF -f "$seek/patterns" | sed 's/^/journal /' || :
"""


def stack_of(operator: Operator) -> Stack:
    return inventories.load(operator.inventory)


def secrets_of(operator: Operator) -> dict[str, str]:
    """Return everything that must not be shown, by name: values past and present, their verifiers, private keys."""
    kept = store.read(stack_of(operator))
    found = {}
    for name, entry in kept.entries.items():
        for which, secret in (("", entry.value), (" before", entry.previous), (" next", entry.next)):
            if secret is not None:
                found[name + which] = secret.reveal()
                found[f"{name}{which} verifier"] = scram_verifier(secret).reveal().split("$")[2]
    for name, pair in kept.pki.items():
        found[f"key of {name}"] = pair["key"].splitlines()[1]
    return found | {f"printed {file.name}": file.read_text() for file in (operator.inventory.parent / "keys").glob("*")}


def use_commands(operator: Operator) -> None:
    """Give the service secrets that commands print: a variable, and a file. The store does not contain their values."""
    keys = operator.inventory.parent / "keys"
    keys.mkdir()
    for name in ("variable", "file"):
        (keys / name).write_text(f"printed-{name}-{os.urandom(20).hex()}", encoding="utf-8")
    data = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
    data["services"]["web"]["secrets"] |= {
        "MAIL_KEY": {"command": "cat keys/variable"},
        "LICENSE": {"command": "cat keys/file", "file": True},
    }
    operator.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def leaks(text: str, secrets: dict[str, str]) -> list[str]:
    """Return the names of the secrets that a text contains, as they are or in base64."""
    names = [name for name, value in secrets.items() if value in text]
    for name, value in secrets.items():
        # In base64, only the characters at the ends depend on neighboring bytes, the others on the offset modulo 3.
        for offset in range(3):
            inner = base64.b64encode(value.encode()[offset:])[: len(value) // 3 * 4 - 4].decode()
            if len(inner) > 16 and inner in text:
                names.append(f"{name} in base64")
    return sorted(set(names))


class Watch:
    """Samples the command line of every process on this machine, which includes the processes in containers.

    Processes of other labs are left out: they may have the same secrets, from the same snapshot.
    """

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.lines: set[str] = set()
        self.samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        seen: Counter[str] = Counter()
        while not self._stop.wait(0.03):
            self.samples += 1
            pids = [each.name for each in Path("/proc").iterdir() if each.name.isdigit()]
            for pid in pids:
                # Look at a new process a few times, because it may exec, and at an old one only now and then.
                if seen[pid] < 4 or self.samples % 50 == 0:
                    seen[pid] += 1
                    with contextlib.suppress(OSError):
                        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
                        if "/plainstack-lab/" not in groups or f"/plainstack-lab/{self.lab}/" in groups:
                            self.lines.add(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
            seen = Counter({pid: seen[pid] for pid in pids})


def typed(operator: Operator, *words: str, debug: bool = False, editor: str = "") -> Done:
    """Run a command and return its output, whatever its exit code."""
    inv = [str(Path(sys.executable).with_name("inv")), *(["--debug"] if debug else []), *words]
    ran = subprocess.run(
        [*inv, f"--inventory={operator.inventory}"],
        cwd=operator.project,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **({"INVOKE_DEBUG": "1"} if debug else {}), **({"EDITOR": editor} if editor else {})},
    )
    return Done(ran.returncode, ran.stdout, ran.stderr)


def on_hosts(operator: Operator, secrets: dict[str, str], hosts: Iterable[str]) -> dict[str, list[str]]:
    """Search hosts for secrets; return by host the files with one, those that anybody can read, and journal lines."""
    script = SEARCH.format(places=PLACES, patterns="\n".join(sorted(set(secrets.values()))))
    found = {}
    for host in hosts:
        text = operator.on(host, script)
        for name, value in secrets.items():
            text = text.replace(value, f"<{name}>")
        found[host] = text.splitlines()
    return found


def test_no_command_and_no_process_list_shows_a_secret(whole: Operator) -> None:
    """The commands rewrite every file that holds a secret, log at debug level, print JSON, and fail."""
    use_commands(whole)
    secrets = secrets_of(whole)
    for host in stack_of(whole).hosts:
        # Damage a secret file, so that plans have a diff to show.
        whole.on(host, "echo >>/etc/plainstack/tls/host.key")
    whole.on("app1", "echo '# by hand' >>/etc/plainstack/app/web.env")
    whole.on("db1", "echo '-- by hand' >>/etc/postgresql/17/main/plainstack.sql; rm /var/lib/postgresql/.pgpass")
    done = []
    with Watch(whole.lab) as watch:
        done += [typed(whole, "plan", debug=True), typed(whole, "plan", "--json"), typed(whole, "drift")]
        done += [typed(whole, "deploy", "--json", debug=True)]
        assert done[-1].code == 0, done[-1].err[-3000:]
        done += [typed(whole, "secrets.rotate", "postgres/rewinder", debug=True)]
        assert done[-1].code == 0, done[-1].text[-3000:]
        secrets |= secrets_of(whole)
        done += [typed(whole, "status", debug=True), typed(whole, "log", "--json"), typed(whole, "verify", "--json")]
        done += [typed(whole, "secrets.list"), typed(whole, "secrets.list", "--json", debug=True)]
        done += [typed(whole, "secrets.edit", debug=True, editor="true")]
        done += [typed(whole, "secrets.edit", debug=True, editor="sed -i s/:/=/")]
        done += _failing(whole)
    assert watch.samples > 100
    assert any("db-bootstrap" in line or "psql" in line for line in watch.lines), "the hosts' processes were not seen"
    assert leaks("\n".join(watch.lines), secrets) == []
    for one in done:
        assert leaks(one.text, secrets) == []
        assert "PRIVATE KEY" not in one.text


def _failing(operator: Operator) -> list[Done]:
    """Run deploys with an invalid inventory, a failing validation and a unit that does not start; then repair."""
    text = operator.inventory.read_text(encoding="utf-8")
    broken = [
        text.replace("name: shop", "name: Shop"),
        text.replace("synchronous: true", "shared_buffers: 900000GB"),
    ]
    done = []
    try:
        for each in broken:
            assert each != text
            operator.inventory.write_text(each, encoding="utf-8")
            done.append(typed(operator, "deploy", debug=True))
            assert done[-1].code == 1, done[-1].text[-3000:]
    finally:
        operator.inventory.write_text(text, encoding="utf-8")
    # The database refuses the password: the application says so in its log, and the deploy shows the log.
    withdraw = "alter role app_a password null; alter role app_b password null"
    for host in ("db1", "db2"):
        operator.on(host, f"runuser -u postgres -- psql -XAtqc '{withdraw}'", check=False)
    operator.on("app1", "systemctl stop plainstack-web")
    done.append(typed(operator, "deploy", "--host=app1", debug=True))
    assert done[-1].code == 1, done[-1].text[-3000:]
    done.append(typed(operator, "deploy", "--json"))
    assert done[-1].code == 0, done[-1].text[-3000:]
    return done


def test_no_secret_on_a_host_is_readable_by_others_or_in_a_log(deployed: Operator) -> None:
    for host, lines in on_hosts(deployed, secrets_of(deployed), stack_of(deployed).hosts).items():
        assert "found /etc/plainstack/tls/host.key" in lines, host
        if host == "app1":
            assert {"found /etc/plainstack/app/web.env", "found /etc/plainstack/app/web/secrets/LICENSE"} <= set(lines)
        assert [line for line in lines if not line.startswith("found ")] == [], host


def test_a_planted_leak_on_a_host_is_found(deployed: Operator) -> None:
    """Plant a harmless text where the tests above look for secrets."""
    bait = {"bait": f"not-a-secret-{time.time():.0f}"}
    deployed.on("bak1", f"umask 022; echo {bait['bait']} | tee /var/tmp/bait | systemd-cat; journalctl --sync")
    found = on_hosts(deployed, bait, ("bak1", "app1"))
    deployed.on("bak1", "rm /var/tmp/bait")
    assert {"readable /var/tmp/bait", "found /var/tmp/bait", "journal <bait>"} <= set(found["bak1"])
    assert found["app1"] == []
    with Watch(deployed.lab) as watch:
        deployed.on("bak1", "mkfifo /run/over")
        with ThreadPoolExecutor() as pool:
            shown = pool.submit(deployed.on, "bak1", f"sh -c 'read -r line </run/over; :' {bait['bait']}")
            try:
                until(lambda: leaks("\n".join(set(watch.lines)), bait))
            finally:
                deployed.on("bak1", "echo >/run/over; rm /run/over")
            shown.result()
    assert leaks("\n".join(watch.lines), bait) == ["bait"]
