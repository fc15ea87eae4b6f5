"""An order for a certificate, and what stands in until it is there."""

from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from submitd.spool.files import make_folder, replace_durably
from submitd.tls.making import key_as_pem, make_key, make_temporary

_CERTIFICATE: Final = "certificate.pem"


@frozen(kw_only=True)
class Order:
    """What is wanted, and from whom: ``[acme]`` and its secrets as plain values."""

    folder: str
    names: tuple[str, ...]
    authority: str
    ca_file: str
    contact: str
    challenge: str
    key: str
    profile: str
    account_id: str
    account_key: str = field(repr=False)
    webroot: str
    dns: dict[str, Any] | None = field(repr=False)
    """As `UpdateServer`; None where the challenge is another."""

    settle: float
    """Seconds that the zone's other servers have to take up a record."""

    @property
    def file(self) -> Path:
        """The private key and the certificate's chain: one file, replaced at once."""
        return certificate_file(Path(self.folder))


def certificate_file(folder: Path) -> Path:
    """The certificate in its folder."""
    return folder / _CERTIFICATE


def ensure_certificate(order: Order) -> bool:
    """Have one of our own making until there is a real one; whether it was made.

    Raises:
        OSError: it cannot be written.
    """
    if order.file.exists():
        return False
    make_folder(Path(order.folder), 0o700)
    key = make_key(order.key)
    replace_durably(order.file, key_as_pem(key) + make_temporary(order.names, key))
    return True
