"""What a server keeps of a password for SCRAM, in the forms that are stored."""

import binascii
import hashlib
import hmac
import re
from typing import Final

from attrs import field, frozen

DIGEST: Final = "sha256"
_SIZE: Final = 32
_MOST_ITERATIONS: Final = 5_000_000
_MOST_SALT: Final = 1024

_FORMS: Final = (
    # Dovecot's, which gsasl makes, too.
    re.compile(
        r"\{SCRAM-SHA-256\}(?P<iterations>[0-9]{1,9}),(?P<salt>[^,$:]+)"
        r",(?P<stored>[^,]+),(?P<server>[^,]+)",
        re.ASCII | re.IGNORECASE,
    ),
    # RFC 5803 section 2, with the spaces that RFC 3112 section 2 lets stand.
    re.compile(
        r" *SCRAM-SHA-256 *\$ *(?P<iterations>[0-9]{1,9}):(?P<salt>[^:$ ]+) *\$"
        r" *(?P<stored>[^: ]+):(?P<server>[^: ]+) *",
        re.ASCII | re.IGNORECASE,
    ),
)


@frozen
class ScramKeys:
    """With these a server can check a proof, and cannot make one (RFC 5802 3)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def make_keys(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a prepared password. Takes as long as the iterations do."""
    salted = hashlib.pbkdf2_hmac(DIGEST, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", DIGEST)
    return ScramKeys(
        salt,
        iterations,
        hashlib.new(DIGEST, client_key).digest(),
        hmac.digest(salted, b"Server Key", DIGEST),
    )


def read_keys(stored: str) -> ScramKeys | None:
    """The keys of a stored value; None: it has none for SCRAM-SHA-256, or is cut."""
    found = next((one for form in _FORMS if (one := form.fullmatch(stored))), None)
    if found is None:
        return None
    iterations = int(found["iterations"])
    try:
        salt, stored_key, server_key = (
            binascii.a2b_base64(found[name], strict_mode=True)
            for name in ("salt", "stored", "server")
        )
    except ValueError:
        return None
    if not (
        0 < iterations <= _MOST_ITERATIONS
        and 0 < len(salt) <= _MOST_SALT
        and len(stored_key) == len(server_key) == _SIZE
    ):
        return None
    return ScramKeys(salt, iterations, stored_key, server_key)
