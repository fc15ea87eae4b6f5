"""The header that SCRAM and OAUTHBEARER begin with (RFC 5801 section 4)."""

import re
from typing import Final

from attrs import frozen

from submitd.sasl.prepare import prepare

_HEADER: Final = re.compile(
    r"(?P<flag>n|y|p=(?P<type>[A-Za-z0-9.-]{1,64})),(?:a=(?P<authzid>[^,\0]+))?,",
    re.ASCII,
)
_ESCAPES: Final = re.compile("=2C|=3D")


@frozen
class Gs2Header:
    """What a client says about channel bindings, and as whom it wants to act."""

    flag: str
    """``n``: it binds no channel. ``y``: it would, and thinks that we cannot.
    ``p``: it does."""

    binding: str
    """The type of binding, with ``p``."""

    authzid: str
    text: str
    """As it was sent, both commas included."""


def read_header(message: str) -> Gs2Header | None:
    """The header of a first message; None: malformed."""
    found = _HEADER.match(message)
    if found is None:
        return None
    authzid = read_name(found["authzid"] or "")
    if authzid is None or (found["authzid"] and not authzid):
        return None
    return Gs2Header(found["flag"][0], found["type"] or "", authzid, found[0])


def read_name(escaped: str) -> str | None:
    """A saslname (RFC 5801 section 4), prepared; None: malformed."""
    if "=" in _ESCAPES.sub("", escaped):
        return None
    return prepare(escaped.replace("=2C", ",").replace("=3D", "="))
