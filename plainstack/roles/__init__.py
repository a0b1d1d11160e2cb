"""The roles that Plainstack ships, one module or package each."""

from __future__ import annotations

from plainstack.engine.role import Role


def registry() -> dict[str, Role]:
    """All roles by name, in an order that respects `after`."""
    from plainstack.roles import app, backup, balancer, base, db, firewall, monitoring

    modules = (base, firewall, db, backup, app, balancer, monitoring)
    return {module.ROLE.name: module.ROLE for module in modules}
