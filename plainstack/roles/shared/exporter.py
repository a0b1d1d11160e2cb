"""The Prometheus exporter of a role, which answers only the hosts that use the role's metrics, over TLS."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Listen, Package, Resource, Unit
from plainstack.inventory.sections import Host


def web_file(program: str) -> str:
    """Return the path of the file with the TLS settings of the exporter `program`."""
    return f"/etc/{program}/web.yml"


def exporter(
    network: Network, host: Host, role: str, arguments: File, port: int, address: str = ""
) -> Iterator[Resource]:
    """Yield the resources of the exporter whose /etc/default file is `arguments`, with its drop-in from files/<role>.

    It listens on `port` of `address`, or of all addresses if that is "".
    """
    program = arguments.path.rpartition("/")[2]
    web = web_file(program)
    scrapers = [peer.name for peer in network.users(f"{role}.metrics")]
    yield Package(name=program)
    yield Directory(path=web.rpartition("/")[0])
    yield template("base", web_file("{program}"), at={"program": program}, host=host, scrapers=scrapers)
    yield arguments
    yield verbatim(role, f"/etc/systemd/system/{program}.service.d/10-plainstack.conf")
    yield Unit(name=f"{program}.service", restart_on=(arguments.path,), listens=(Listen(port, address=address),))
