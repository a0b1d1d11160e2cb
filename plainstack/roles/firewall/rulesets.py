"""Foreign packet filter rules: the probe that reads them, and which of them conflict with Plainstack's.

Every base chain of a hook must accept a packet, so a foreign table that drops packets by default keeps a port closed
that Plainstack opens (nft(8), "policy"). Rules that only drop banned addresses or filter forwarded packets do not
conflict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from plainstack.dataclass import dataclass

# Programs that create chains in the filter table, by the prefix of the chains' names.
PROGRAMS = {
    "DOCKER": "Docker",
    "f2b-": "fail2ban",
    "fail2ban-": "fail2ban",
    "ufw-": "ufw",
    "ufw6-": "ufw",
    "KUBE-": "Kubernetes",
    "FLANNEL-": "flannel",
    "cali-": "Calico",
    "CILIUM_": "Cilium",
    "CNI-": "CNI plugins",
    "NETAVARK": "Podman",
    "LIBVIRT_": "libvirt",
    "ts-": "Tailscale",
    "CROWDSEC": "CrowdSec",
    "sshguard": "sshguard",
}
# The nftables tables that iptables-nft uses; rules in their upper-case chains are read with iptables instead.
_IPTABLES = re.compile(r"ip6? (filter|nat|mangle|raw|security)")

# Parts of a rule that do not restrict which packets match.
_NO_MATCH = re.compile(
    r'counter( packets \d+ bytes \d+)?|log( (prefix "[^"]*"|level \w+|flags \w+|group \d+))*|comment "[^"]*"'
)

# Read only the lines that decide what a table drops, to keep the output short. Once Plainstack's filter is in place,
# foreign rules in INPUT are drift, or `firewall.foreign: keep` allows them; list them again only when that setting has
# changed.
PROBE = """\
if command -v nft >/dev/null; then
    nft -s list ruleset | grep -E '^table |^\tchain |^\t}| hook |drop|reject|jump |goto ' | head -n 4000 |
        grep -n . | sed 's/^\\([0-9]*\\):/nft.\\1=/'
fi
decided=
if [ -x "${ROOT:-}%(program)s" ]; then
    { read -r _ && read -r _ && read -r _ _ decided; } <"${ROOT:-}%(program)s" || :
    # An older version of the program does not have this line.
    case $decided in refuse | keep | replace) ;; *) decided=%(foreign)s ;; esac
fi
if [ "$decided" != %(foreign)s ]; then
    [ -z "$decided" ] || echo decided_anew=yes
    for family in ip ip6; do
        ! command -v ${family}tables-save >/dev/null ||
            ${family}tables-save -t filter | grep -E '^(:|-A INPUT )' | sed "s/^/$family /"
    done | grep -n . | sed 's/^\\([0-9]*\\):/filter.\\1=/'
fi
for family in ip ip6; do
    if read -r _ </proc/net/${family}_tables_names && command -v ${family}tables-legacy-save >/dev/null; then
        case $(iptables -V) in
        *legacy*) ;;
        *) ${family}tables-legacy-save -t filter | grep -E '^(:|-A INPUT )' | sed "s/^/$family /" ;;
        esac
    fi
done | grep -n . | sed 's/^\\([0-9]*\\):/legacy.\\1=/'
! grep -qsix 'enabled=yes' /etc/ufw/ufw.conf || echo ufw=yes
"""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A set of foreign rules; `problem` is its conflict with Plainstack's, "" for none, and `cure` how to remove it."""

    name: str
    problem: str = ""
    cure: str = ""
    replaceable: bool = True


@dataclass
class _Chain:
    hook: str = ""
    rules: list[str] = field(default_factory=list)


def found(facts: Mapping[str, str]) -> Iterator[Ruleset]:
    """Yield all foreign rule sets, in a stable order."""
    if facts.get("ufw") == "yes":
        yield Ruleset("the rules of ufw", "are active and filter the same ports", "ufw disable")
    yield from _nftables(_lines(facts, "nft."))
    yield from _iptables(_lines(facts, "filter."), among_ours=facts.get("decided_anew") == "yes")
    yield from _legacy(_lines(facts, "legacy."))


def _lines(facts: Mapping[str, str], prefix: str) -> list[str]:
    keys = sorted((key for key in facts if key.startswith(prefix)), key=lambda key: int(key.removeprefix(prefix)))
    return [facts[key].strip() for key in keys]


def _nftables(lines: list[str]) -> Iterator[Ruleset]:
    tables: dict[str, dict[str, _Chain]] = {}
    table, chain = "", _Chain()
    for line in lines:
        if match := re.fullmatch(r"table (\w+ \S+) \{.*", line):
            table, chain = match[1], _Chain()
            tables[table] = {}
        elif match := re.fullmatch(r"chain (\S+) \{.*", line):
            chain = tables.setdefault(table, {}).setdefault(match[1], _Chain())
        elif " hook " in line and line.startswith("type "):
            chain.hook = line
        elif line == "}":
            chain = _Chain()
        else:
            chain.rules.append(line)
    for name, chains in tables.items():
        theirs = {
            each: value
            for each, value in chains.items()
            if not (_IPTABLES.fullmatch(name) and (each.isupper() or _program(each)))
            and not each.startswith("plainstack-")
        }
        closed = [each for each, value in theirs.items() if _decides(value) and _closes(each, chains, set())]
        if closed:
            yield Ruleset(
                f"nftables table '{name}'",
                f"drops what it does not accept (chain {closed[0]}), so ports that Plainstack opens would stay closed",
                f"nft delete table {name}, and remove it from what loads it at boot, such as /etc/nftables.conf",
            )
        elif any(value.hook for value in theirs.values()):
            yield Ruleset(f"nftables table '{name}'")


def _decides(chain: _Chain) -> bool:
    return bool(re.search(r"type filter hook (input|prerouting|ingress) ", chain.hook))


def _closes(name: str, chains: Mapping[str, _Chain], seen: set[str]) -> bool:
    chain = chains.get(name)
    if chain is None or name in seen:
        return False
    seen.add(name)
    if "policy drop" in chain.hook:
        return True
    for rule in chain.rules:
        bare = _NO_MATCH.sub("", rule)
        if re.fullmatch(r"\s*(drop|reject\b.*)\s*", bare):
            return True
        jump = re.fullmatch(r"\s*(?:jump|goto) (\S+)\s*", bare)
        if jump and _closes(jump[1], chains, seen):
            return True
    return False


def _program(chain: str) -> str:
    return next((program for prefix, program in PROGRAMS.items() if chain.startswith(prefix)), "")


def _target(rule: str) -> str:
    match = re.search(r" -[jg] (\S+)", rule)
    return match[1] if match else ""


def _iptables(lines: list[str], *, among_ours: bool) -> Iterator[Ruleset]:
    known = (*PROGRAMS, "plainstack-")
    unknown = [line.partition(" ")[2] for line in lines if " -A INPUT " in line and not _target(line).startswith(known)]
    if unknown:
        shown = "; ".join(unknown[:3]) + (f"; and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        cure = "iptables -P INPUT ACCEPT; iptables -F INPUT (and ip6tables)"
        if among_ours:
            cure = "remove each with iptables or ip6tables -D INPUT and the rest of its line"
        yield Ruleset(
            f"iptables chain INPUT ({shown})",
            "has rules that Plainstack did not create, which would override what it opens or closes",
            f"{cure}, and remove them from what loads them at boot",
        )
    programs = dict.fromkeys(_program(line.partition(":")[2].split(" ")[0]) for line in lines if " :" in line)
    for program in programs:
        if program and program != "ufw":
            yield Ruleset(f"the chains of {program}")


def _legacy(lines: list[str]) -> Iterator[Ruleset]:
    if not lines:
        return
    closing = [line for line in lines if re.search(r":INPUT DROP|-A INPUT -j (DROP|REJECT)", line)]
    if closing:
        yield Ruleset(
            "the rules of iptables-legacy",
            f"drop what they do not accept ({closing[0]}), so ports that Plainstack opens would stay closed",
            "iptables-legacy -P INPUT ACCEPT; iptables-legacy -F (and ip6tables-legacy)",
            replaceable=False,
        )
    else:
        yield Ruleset("the rules of iptables-legacy")
