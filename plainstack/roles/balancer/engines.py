"""The two engines of a balancer, nginx and Angie."""

from __future__ import annotations

from plainstack.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Engine:
    """The paths, account and Brotli package of an engine; the configuration language is the same for both."""

    name: str
    user: str
    sites: str
    default_site: str
    state: str
    brotli: str

    @property
    def folder(self) -> str:
        return f"/etc/{self.name}"

    @property
    def configuration(self) -> str:
        return f"/etc/{self.name}/{self.name}.conf"

    @property
    def places(self) -> dict[str, str]:
        """The values of the placeholders in the paths of templates."""
        return {"engine": self.name, "sites": self.sites.rpartition("/")[2]}

    @property
    def logs(self) -> str:
        return f"/var/log/{self.name}"


ENGINES = {
    "nginx": Engine(
        name="nginx",
        user="www-data",
        sites="/etc/nginx/conf.d",
        default_site="/etc/nginx/sites-enabled/default",
        state="/var/lib/nginx",
        brotli="libnginx-mod-http-brotli-filter",
    ),
    "angie": Engine(
        name="angie",
        user="angie",
        sites="/etc/angie/http.d",
        default_site="/etc/angie/http.d/default.conf",
        state="/var/cache/angie",
        brotli="angie-module-brotli",
    ),
}
