"""The rendered files of a balancer, and the parts of their text that tests look at."""

from __future__ import annotations

import re
from pathlib import Path

from plainstack.engine.resources import File, Resource, Unit
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.secrets.values import Vault
from plainstack.services.edge import Balancer
from tests import inventories

SITE = "/etc/nginx/conf.d/site.conf"
STATUS = "/etc/nginx/conf.d/status.conf"
IPV6 = "/etc/nginx/ipv6/"
UPSTREAMS = "/etc/plainstack/balancer/upstreams"
VRRP = "/etc/keepalived/keepalived.conf"


def changed(stack: Stack, **keys: object) -> Stack:
    return stack.model_copy(update={"balancer": stack.settings(Balancer).model_copy(update=keys)})


KEY = (Path(__file__).parents[1] / "recorded/apt/signer.gpg").read_bytes()


def angie(stack: Stack, folder: Path, key: bytes = KEY) -> Stack:
    (folder / "angie.key").write_bytes(key)
    return changed(stack, engine="angie", angie_key=folder / "angie.key")


def resources(stack: Stack, vault: Vault, host: str = "lb1") -> list[Resource]:
    return inventories.wanted(balancer.ROLE, stack, host, vault)


def files(stack: Stack, vault: Vault, host: str = "lb1") -> dict[str, File]:
    return {item.path: item for item in resources(stack, vault, host) if isinstance(item, File)}


def text(stack: Stack, vault: Vault, path: str, host: str = "lb1") -> str:
    return files(stack, vault, host)[path].content.decode()


def unit(stack: Stack, vault: Vault, name: str) -> Unit:
    return next(item for item in resources(stack, vault) if isinstance(item, Unit) and item.name == name)


def upstreams(site: str) -> dict[str, list[str]]:
    blocks = re.findall(r"^upstream (\S+) \{(.*?)^\}", site, re.M | re.S)
    return {name: re.findall(r"include /run/plainstack/upstreams/(\S+)\.conf;", body) for name, body in blocks}


def servers(site: str) -> list[str]:
    return re.findall(r"^server \{.*?^\}", site, re.M | re.S)


def locations(site: str) -> dict[str, str]:
    return dict(re.findall(r"^    location (= \S+|\S+) \{\n(.*?)^    \}", site, re.M | re.S))


def passed(site: str) -> dict[str, str]:
    found = {name: re.findall(r"proxy_pass (\S+);", body) for name, body in locations(site).items()}
    return {name: targets[0] for name, targets in found.items() if targets}
