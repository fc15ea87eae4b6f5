"""The other side of a signature: dkimpy, with records instead of DNS."""

import base64
import re
from collections.abc import Mapping

import dkim


def verify(message: bytes, records: Mapping[str, str], index: int = 0) -> bool:
    """What dkimpy says of a message's DKIM-Signature field, from the top.

    ``records`` are by name, ``selector._domainkey.domain``.
    """

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001
        found = records.get(name.decode().removesuffix("."))
        return None if found is None else found.encode()

    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=look_up))
    except dkim.DKIMException:
        return False


def tags_of(signature: bytes) -> dict[str, str]:
    """The tags of a DKIM-Signature field, white space gone."""
    value = re.sub(rb"\s", b"", signature.partition(b":")[2]).decode("ascii")
    return {
        name: content
        for name, _, content in (part.partition("=") for part in value.split(";"))
    }


def body_hash_of(signature: bytes) -> bytes:
    """``bh=`` of a DKIM-Signature field."""
    return base64.b64decode(tags_of(signature)["bh"])
