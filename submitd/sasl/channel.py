"""What the TLS below a session lends to its mechanisms."""

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

BINDINGS: Final = ("tls-exporter", "tls-server-end-point")
"""Types (RFC 9266, RFC 5929) that clients use."""


@frozen
class CertificateNames:
    """A client's certificate that was verified, and whom it names."""

    subject: str
    """As in RFC 4514: the most particular part first."""

    emails: tuple[str, ...]
    """rfc822Name (RFC 5280 section 4.2.1.6)."""

    upns: tuple[str, ...]
    """User principal names, as Active Directory puts them into otherName."""

    fingerprint: str
    """Tells certificates apart."""


@frozen
class Channel:
    """The TLS of one connection."""

    binding: Callable[[str], bytes | None] = field(repr=False)
    """The data of a channel binding of this type (RFC 5056); None: we have none."""

    certificate: CertificateNames | None = None
    """What the client showed; None: nothing, or nothing that is verified."""

    @property
    def can_bind(self) -> bool:
        """There is data for one type of binding at least: below TLS 1.3 with some
        certificates there is none.
        """
        return any(self.binding(one) is not None for one in BINDINGS)
