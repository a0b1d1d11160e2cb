"""The operator's SSH configuration for one destination, as ssh itself reads it.

`ssh -G` resolves the files (Include, Match, tokens, first value wins) without contacting any host; it takes a few
milliseconds. A parser of our own would differ from the operator's ssh, and any difference could mean logging in to the
wrong machine.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.errors import Refused

SYSTEM = Path("/etc/ssh/ssh_config")
_STDIN = Path("/dev/stdin")
# Seconds. ssh may look up names (CanonicalizeHostname) and run commands (Match exec).
_WITHIN = 20

_DEBUG = re.compile(r"(debug\d:|OpenSSH_)")
_READ = re.compile(r"debug1: Reading configuration data (.+)")
_APPLIED = re.compile(r"debug1: (.+) line (\d+): Applying options for ")
_INCLUDED = re.compile(r"debug3: (.+) line (\d+): Including file (.+) depth \d+")
_MATCHED = re.compile(r"debug3: (.+) line (\d+): (not )?matched '")


@dataclass(frozen=True)
class Resolved:
    """The settings for one destination: the values of each keyword, which is in lower case, and ssh's debug output."""

    values: Mapping[str, list[str]]
    trace: str = ""

    def get(self, keyword: str) -> str:
        """Return a keyword's first value; empty if it has none or is set to `none`."""
        value = self.values.get(keyword, [""])[0]
        return "" if value.lower() == "none" else value

    def yes(self, keyword: str) -> bool:
        """Return whether a switch is on; ssh prints `yes` for some switches and `true` for others."""
        return self.get(keyword) not in ("", "no", "false")

    def paths(self, keyword: str) -> tuple[Path, ...]:
        """Return the expanded file names of a keyword, in ssh's order. Raises Refused if one cannot be expanded."""
        found = [text for text in self.values.get(keyword, []) if text.lower() != "none"]
        return tuple(Path(self.expanded(text, keyword)).expanduser() for text in found)

    def expanded(self, text: str, keyword: str) -> str:
        """Return a value with its tokens and environment variables expanded. Raises Refused if one is unknown."""
        known = self._tokens

        def token(match: re.Match[str]) -> str:
            if match[1] not in known:
                raise Refused(
                    f"{self.where(keyword)}: {keyword}: %{match[1]} is not supported here. Write the value out"
                )
            return known[match[1]]

        def variable(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise Refused(f"{self.where(keyword)}: {keyword}: the environment variable {match[1]} is not set")
            return os.environ[match[1]]

        # ssh runs a proxy command in a shell, which expands variables itself.
        plain = text if keyword == "proxycommand" else re.sub(r"\$\{(\w+)\}", variable, text)
        return re.sub(r"%(.)", token, plain)

    @cached_property
    def _tokens(self) -> Mapping[str, str]:
        local = socket.gethostname()
        return {
            "%": "%",
            "d": str(Path.home()),
            "h": self.get("hostname"),
            "i": str(os.getuid()),
            "k": self.get("hostkeyalias") or self.get("host"),
            "L": local.partition(".")[0],
            "l": local,
            "n": self.get("host"),
            "p": self.get("port"),
            "r": self.get("user"),
            "u": getpass.getuser(),
        }

    def where(self, keyword: str) -> str:
        """Return the file and line that set a keyword, or ~/.ssh/config if ssh's debug output does not show them."""
        included = {name for names in self._included.values() for name in names}
        roots = [match[1] for match in _READ.finditer(self.trace) if match[1] not in included]
        found = (place for root in roots for place in self._places(root, keyword))
        return next(found, _short(str(_own())))

    def _places(self, name: str, keyword: str) -> Iterator[str]:
        """Yield each place that sets a keyword in a file or a file it includes, except in blocks that do not apply."""
        active = True
        for number, line in enumerate(_lines(name), 1):
            word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
            if word.lower() in ("host", "match"):
                every = word.lower() == "match" and rest.strip().lower().endswith("all")
                active = every or (name, number) in self._applied
            elif active and word.lower() == "include":
                for more in self._included.get((name, number), []):
                    yield from self._places(more, keyword)
            elif active and word.lower() == keyword:
                yield f"{_short(name)}:{number}"

    @cached_property
    def _applied(self) -> set[tuple[str, int]]:
        """The Host and Match lines that apply."""
        matched = [((match[1], int(match[2])), match[3]) for match in _MATCHED.finditer(self.trace)]
        differing = {place for place, negated in matched if negated}
        hosts = {(match[1], int(match[2])) for match in _APPLIED.finditer(self.trace)}
        return hosts | {place for place, _ in matched} - differing

    @cached_property
    def _included(self) -> Mapping[tuple[str, int], list[str]]:
        """The files that each Include line reads."""
        found: dict[tuple[str, int], list[str]] = {}
        for match in _INCLUDED.finditer(self.trace):
            found.setdefault((match[1], int(match[2])), []).append(match[3])
        return found


def resolve(host: str, user: str = "", port: int = 0) -> Resolved:
    """Return the settings that `ssh -l user -p port host` would use.

    Raises Refused, with ssh's own message, if ssh rejects its configuration.
    """
    program = shutil.which("ssh")
    if program is None:
        if _own().exists():
            raise Refused(
                f"{_own()} can only be read by OpenSSH's ssh, which is not installed. Install it: apt install"
                " openssh-client"
            )
        return _without_configuration(host, user, port)
    command = [program, "-vvv", "-T", "-G"]
    includes = ""
    if Path.home() != Path(pwd.getpwuid(os.getuid()).pw_dir):
        # ssh takes the home directory from the account, not from HOME; everything else here uses HOME.
        command += ["-F", str(_STDIN)]
        includes = _includes()
    command += [*(["-l", user] if user else []), *(["-p", str(port)] if port else []), "--", host]
    try:
        ran = subprocess.run(command, input=includes, capture_output=True, text=True, timeout=_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(f"ssh -G {host} had not read the SSH configuration after {_WITHIN} s") from None
    if ran.returncode != 0:
        said = [line.strip() for line in ran.stderr.splitlines() if line.strip() and not _DEBUG.match(line)]
        raise Refused(f"ssh refuses its configuration for {host}: {'; '.join(map(_short, said)) or ran.returncode}")
    values: dict[str, list[str]] = {}
    for line in ran.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    values.setdefault("host", [host])
    return Resolved(values, ran.stderr)


def _without_configuration(host: str, user: str, port: int) -> Resolved:
    names = ("id_rsa", "id_ecdsa", "id_ed25519")
    return Resolved(
        {
            "host": [host],
            "hostname": [host],
            "user": [user or getpass.getuser()],
            "port": [str(port or 22)],
            "identityfile": [f"~/.ssh/{name}" for name in names],
        }
    )


def _own() -> Path:
    return Path.home() / ".ssh/config"


def _includes() -> str:
    return f'Include "{_own()}"\nInclude "{SYSTEM}"\n'


def _lines(name: str) -> list[str]:
    if name == str(_STDIN):
        return _includes().splitlines()
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _short(text: str) -> str:
    return text.replace(f"{Path.home()}/", "~/")
