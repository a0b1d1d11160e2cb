"""The packet filter of every host: it opens only the ports that the host's roles offer, to the hosts that use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from plainstack.dataclass import dataclass
from plainstack.engine.network import Allowed, Network
from plainstack.engine.observed import Observed
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Package, Resource, Unit, Validation
from plainstack.engine.role import Finding, Leftover, Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import FENCES, FILTER
from plainstack.roles.firewall import rulesets
from plainstack.roles.firewall.settings import Firewall
from plainstack.roles.firewall.validation import contradictions
from plainstack.secrets.values import Vault

_UNIT = "plainstack-firewall.service"
# List the nftables tables that iptables does not use.
_TABLES = (
    "! command -v nft >/dev/null || nft list tables | sed -nE"
    " '/^table ip6? (filter|nat|mangle|raw|security)$/!s/^table //p'"
)
# Services that load foreign rules again, at boot or earlier.
_LOADERS = ("nftables.service", "netfilter-persistent.service", "ufw.service", "firewalld.service")
_RULES = {4: "/etc/iptables/plainstack.v4", 6: "/etc/iptables/plainstack.v6"}

# Inline, because the first deploy takes the snapshot before it installs the program. On a new host the listing is
# empty and would restore nothing, so the snapshot begins with policies that open the host again.
_SNAPSHOT = """\
for family in ip ip6; do
    { printf '*filter\\n:INPUT ACCEPT\\n:FORWARD ACCEPT\\n:OUTPUT ACCEPT\\nCOMMIT\\n'
      ${family}tables-save -t filter; } >"$KEEP/$family.rules" || [ ! -e /proc/net/if_inet6 ]
done
cp /run/plainstack/firewall.loaded "$KEEP/" 2>/dev/null || :"""
_SNAPSHOT_TABLES = f"""
{{ {_TABLES}; }} | while read -r table; do
    printf 'table %s\\ndelete table %s\\n' "$table {{ }}" "$table"
    nft list table $table
done >"$KEEP/nft.rules"
"""
_RESTORE_TABLES = """
[ ! -s "$KEEP/nft.rules" ] || nft -f "$KEEP/nft.rules"
"""
_RESTORE = """\
iptables-restore -w 5 <"$KEEP/ip.rules"
[ ! -e /proc/net/if_inet6 ] || ip6tables-restore -w 5 <"$KEEP/ip6.rules"
cp "$KEEP/firewall.loaded" /run/plainstack/ 2>/dev/null || :"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the filter: the source, the match for protocol and port, and the reason."""

    source: str
    match: str
    why: str


def desired(stack: Stack, host: Host, _vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role firewall."""
    openings = tuple(network.allowed(host))
    foreign = stack.settings(Firewall).foreign
    yield Package(name="iptables")
    # for ss, which closes the connections of a host that a failover fences off
    yield Package(name="iproute2")
    yield Directory(path="/etc/iptables")
    # A failover writes the hosts it fences off to this directory; see plainstack/postgresql/failover/steps.py.
    yield Directory(path=FENCES)
    for version in _RULES:
        yield _rules_file(version, host, openings, foreign)
    yield template(
        "firewall",
        FILTER,
        mode=0o755,
        foreign=foreign,
        programs=r"\|".join(rulesets.PROGRAMS),
        foreign_tables=_TABLES,
        version=host.address.version,
    )
    yield verbatim("firewall", f"/etc/systemd/system/{_UNIT}")
    yield Validation(name="iptables", run=f"iptables-restore --test {_RULES[4]}", reads=(_RULES[4],))
    yield Validation(
        name="ip6tables",
        run=f"[ ! -e /proc/net/if_inet6 ] || ip6tables-restore --test {_RULES[6]}",
        reads=(_RULES[6],),
    )
    if foreign == "replace":
        for loader in _LOADERS:
            yield Unit(name=loader, enabled=False, running=False)
    tables = foreign == "replace"
    yield Unit(
        name=_UNIT,
        reload_on=(*_RULES.values(), FILTER),
        intact=f"{FILTER} check",
        guarded=True,
        snapshot=_SNAPSHOT + (_SNAPSHOT_TABLES if tables else ""),
        restore=_RESTORE + (_RESTORE_TABLES if tables else ""),
    )


def facts(stack: Stack, _host: Host) -> str:
    """Return the script that prints the packet filter rules that Plainstack did not make."""
    return rulesets.PROBE % {"program": FILTER, "foreign": stack.settings(Firewall).foreign}


def findings(stack: Stack, _host: Host, observed: Observed) -> Iterator[Finding]:
    """Report foreign rules, and what the inventory's `firewall.foreign` does with them."""
    foreign = stack.settings(Firewall).foreign
    for ruleset in rulesets.found(observed.facts):
        if ruleset.problem and (foreign == "refuse" or (foreign == "replace" and not ruleset.replaceable)):
            choice = "firewall: {foreign: keep} to keep them"
            choice += ", {foreign: replace} to have them removed" if ruleset.replaceable else ""
            yield Finding(
                f"firewall: {ruleset.name} {ruleset.problem}. Remove them ({ruleset.cure}), or write into the inventory"
                f" {choice}"
            )
        elif foreign == "replace":
            yield Finding(f"firewall: {ruleset.name}: removed by firewall.foreign: replace", refused=False)
        elif ruleset.problem:
            yield Finding(f"firewall: {ruleset.name} {ruleset.problem}; kept by firewall.foreign: keep", refused=False)
        else:
            yield Finding(f"firewall: {ruleset.name}: left alone", refused=False)


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the list of hosts that a failover has fenced off."""
    yield Leftover(FENCES, "the hosts that are fenced off", data=False)


def rules(openings: Iterable[Allowed], version: int) -> Iterator[Rule]:
    """Yield the rules of one IP version, one for each source, in role order."""
    anywhere = "0.0.0.0/0" if version == 4 else "::/0"
    for opening in openings:
        match = "-p 112" if opening.protocol == "vrrp" else f"-p {opening.protocol} --dport {opening.port}"
        for source in (anywhere,) if opening.sources is None else opening.sources:
            if ip_network(source).version == version:
                yield Rule(source, match, opening.why)


def _rules_file(version: int, host: Host, openings: Iterable[Allowed], foreign: str) -> File:
    return template(
        "firewall",
        "/etc/iptables/plainstack.v{version}",
        at={"version": version},
        version=version,
        rules=tuple(rules(openings, version)),
        host=host,
        foreign=foreign,
    )


ROLE = Role(
    name="firewall",
    settings=Firewall,
    desired=desired,
    contradictions=contradictions,
    everywhere=True,
    after=("base",),
    facts=facts,
    findings=findings,
    leaves=leaves,
)
