"""Recipient domain → where an attempt connects."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from attrs import field, frozen


class TlsPolicy(Enum):
    """What TLS an attempt insists on."""

    NONE = auto()
    OPPORTUNISTIC = auto()
    ENCRYPT = auto()
    VERIFY = auto()
    IMPLICIT = auto()

    @property
    def is_required(self) -> bool:
        """True where clear text is out of the question."""
        return self not in (TlsPolicy.NONE, TlsPolicy.OPPORTUNISTIC)


@frozen(kw_only=True)
class Route:
    """Where mail goes that shares connections."""

    key: str
    """What tells destinations apart: the domain, or the route's name."""

    mx_of: str = ""
    """The exchangers of this domain …"""

    host: str = ""
    """… or this host, as it is."""

    port: int = 25
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    trust: Any = None
    """Who may vouch for the host; None: the system's authorities."""

    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def is_configured(self) -> bool:
        """An operator named the host: it may be on loopback."""
        return bool(self.host)


class Routes:
    """Configured routes, and MX for everything else."""

    def __init__(
        self, configured: Mapping[str, Route], port: int, tls: TlsPolicy
    ) -> None:
        """``configured``: by domain, ``.domain`` for subdomains, or ``*``."""
        self._configured = dict(configured)
        self._port = port
        self._tls = tls

    def find(self, domain: str) -> Route:
        """The most exact configured route, or the domain's exchangers."""
        if (exact := self._configured.get(domain)) is not None:
            return exact
        if not domain.startswith("["):
            rest = domain
            while "." in rest:
                rest = rest.partition(".")[2]
                if (above := self._configured.get(f".{rest}")) is not None:
                    return above
        if (everything := self._configured.get("*")) is not None:
            return everything
        return Route(key=domain, mx_of=domain, port=self._port, tls=self._tls)
