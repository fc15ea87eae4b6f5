"""Signing a message: its header fields, a body hash, and keys (RFC 6376 section 5).

What a signature says of itself:

- ``d=`` is the signing domain in A-labels, also where the message needs
  SMTPUTF8: every verifier reads these. ``i=`` is left out: its default, ``@``
  and the signing domain, is what we mean, and it suits records with ``t=s``.
- ``t=`` is the moment of signing; ``x=`` follows where the caller gives a
  lifetime. By default there is none: mail may wait for days.
- ``l=`` is never given: it lets anybody add text behind ours (section 8.2).
- ``q=`` and ``z=`` are left out: the one is the default, the other copies header
  fields for debugging.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import Attribute, field, frozen, validators

from submitd.dkim.canonical import BodyHasher, Canon, canonical_field
from submitd.dkim.key import PrivateKey, check_selector, record_name
from submitd.mail.address import MAX_DOMAIN, parse_domain

OVERSIGNED: Final = (
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
"""Signed once more than they occur, so also where they do not occur.

Who adds one of these breaks the signature (RFC 6376 section 8.15). They are what
a reader is shown, where the answer goes, and how the body is read: a second
Subject, or a Content-Type on top of mail that has none, would be another message
under our name. OpenDKIM on Debian oversigns From alone; rspamd all of these, the
MIME fields, Date and Message-ID only where they occur.

The price: a mailing list that changes the subject, adds Reply-To or adds MIME
fields breaks the signature. Most that do so change the body too.
"""

SIGNED: Final = (
    "Sender",
    "In-Reply-To",
    "References",
    "Content-ID",
    "Content-Description",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Autocrypt",
)
"""Signed where they occur, as often as they occur (RFC 6376 section 5.4.1).

Lists and forwarders add their own Sender, List- and Resent- fields on top, and
must not break the signature by that. RFC 8058 section 4 wants List-Unsubscribe
and List-Unsubscribe-Post signed. All else stays unsigned, trace fields first.
"""

_LINE: Final = 76
_SIGNATURE_LINE: Final = 72
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9-]+")


@frozen
class SigningKey:
    """A key under the name that it is published by.

    Raises:
        BadSelector: the selector is none.
    """

    selector: str = field(converter=check_selector)
    key: PrivateKey = field(repr=False)


@frozen
class _Listed:
    """One field name of ``h=``."""

    key: bytes
    name: str
    spare: int
    """How many more than occur are listed."""


@frozen(kw_only=True)
class Signer:
    """Signs for one domain, with each of its keys.

    Raises:
        BadAddress: the domain is none.
        ValueError: two keys share a selector, a record's name would be too
            long for DNS, or the field names would not make a good ``h=``.
    """

    domain: str = field(converter=parse_domain)
    """``d=``. It may be handed in as U-labels and is kept as A-labels."""

    keys: tuple[SigningKey, ...] = field(validator=validators.min_len(1))
    """One signature each, in this order. Some verifiers read only the first."""

    header_canon: Canon = Canon.RELAXED
    body_canon: Canon = Canon.RELAXED
    signed: tuple[str, ...] = SIGNED
    oversigned: tuple[str, ...] = field(default=OVERSIGNED)
    _listed: tuple[_Listed, ...] = field(init=False, repr=False, eq=False)

    @domain.validator
    def _is_name(self, _: "Attribute[str]", value: str) -> None:
        if value.startswith("["):
            raise ValueError("an address literal has no DNS records to publish a key")

    @keys.validator
    def _can_be_published(
        self, _: "Attribute[tuple[SigningKey, ...]]", value: tuple[SigningKey, ...]
    ) -> None:
        selectors = [one.selector for one in value]
        if len(set(selectors)) < len(selectors):
            # Two records under one name: verifiers may take either (3.6.2.2).
            raise ValueError(f"{self.domain}: each key needs a selector of its own")
        for selector in selectors:
            name = record_name(selector, self.domain)
            if len(name) > MAX_DOMAIN:
                raise ValueError(f"{name}: too long for a DNS name")

    @oversigned.validator
    def _are_field_names(
        self, _: "Attribute[tuple[str, ...]]", value: tuple[str, ...]
    ) -> None:
        names = [name.lower() for name in (*value, *self.signed)]
        if not all(map(_FIELD_NAME.fullmatch, names)):
            raise ValueError("a name to be signed is no header field's")
        if len(set(names)) < len(names):
            raise ValueError("a field name is to be signed twice")
        if "from" not in names[: len(value)]:
            raise ValueError("From must be oversigned")

    @_listed.default
    def _list(self) -> tuple[_Listed, ...]:
        spares = (*((n, 1) for n in self.oversigned), *((n, 0) for n in self.signed))
        return tuple(_Listed(n.lower().encode(), n, spare) for n, spare in spares)

    def body_hasher(self) -> BodyHasher:
        """A fresh hasher for one message's body."""
        return BodyHasher(self.body_canon)

    def sign(
        self,
        fields: Sequence[bytes],
        body_hash: bytes,
        signed_at: datetime,
        expires: timedelta | None = None,
    ) -> bytes:
        """One DKIM-Signature field a key, to be put on top.

        ``fields`` are the header fields as they stand, each whole and with its
        CRLF; ``body_hash`` is what a hasher of ours gave; ``expires`` counts
        from ``signed_at``.

        Lines are of at most 76 octets, but for a domain or a selector that is
        longer by itself.

        Raises:
            ValueError: ``signed_at`` has no time zone, or the signature would
                expire as soon as it is made.
        """
        moments = _moments(signed_at, expires)
        names, chosen = self._choose(fields)
        canonical = b"".join(canonical_field(raw, self.header_canon) for raw in chosen)
        behind = "\r\n".join(
            (
                *_packed(f"h={': '.join(names)};".split(), ""),
                f"\tbh={base64.b64encode(body_hash).decode('ascii')};",
                "\tb=",
            )
        )
        return b"".join(
            self._signature(one, moments, behind, canonical) for one in self.keys
        )

    def _choose(self, fields: Sequence[bytes]) -> tuple[list[str], list[bytes]]:
        """The names of ``h=``, and the fields they mean in that order (5.4.2)."""
        present: dict[bytes, list[bytes]] = {}
        for raw in fields:
            key = raw.partition(b":")[0].rstrip(b" \t").lower()
            present.setdefault(key, []).append(raw)
        names: list[str] = []
        chosen: list[bytes] = []
        for listed in self._listed:
            # From the bottom up, so that a field put on top later is another.
            found = present.get(listed.key, ())
            chosen += reversed(found)
            names += [listed.name] * (len(found) + listed.spare)
        return names, chosen

    def _signature(
        self, one: SigningKey, moments: Sequence[str], behind: str, canonical: bytes
    ) -> bytes:
        canons = f"{self.header_canon.value}/{self.body_canon.value}"
        tags = (f"d={self.domain};", f"s={one.selector};", *moments)
        unsigned = "\r\n".join(
            (
                f"DKIM-Signature: v=1; a={one.key.algorithm.value}; c={canons};",
                *_packed(tags, " "),
                behind,
            )
        ).encode("ascii")
        # It is hashed last, with an empty b= and without its CRLF (3.7).
        own = canonical_field(unsigned + b"\r\n", self.header_canon)[:-2]
        signature = base64.b64encode(one.key.sign(canonical + own))
        lines = [
            signature[at : at + _SIGNATURE_LINE]
            for at in range(0, len(signature), _SIGNATURE_LINE)
        ]
        return b"%b%b\r\n" % (unsigned, b"\r\n\t".join(lines))


def signer_for(domain: str, signers: Mapping[str, Signer]) -> Signer | None:
    """The signer of a From domain, or of the nearest ``*.`` domain above it."""
    if (exact := signers.get(domain)) is not None:
        return exact
    rest = domain
    while "." in rest:
        rest = rest.partition(".")[2]
        if (wild := signers.get(f"*.{rest}")) is not None:
            return wild
    return None


def _moments(signed_at: datetime, expires: timedelta | None) -> tuple[str, ...]:
    """``t=`` and ``x=`` (section 3.5), in whole seconds."""
    if signed_at.tzinfo is None:
        raise ValueError("signed_at must carry a time zone")
    began = int(signed_at.timestamp())
    if expires is None:
        return (f"t={began};",)
    ends = began + int(expires.total_seconds())
    if ends <= began:
        raise ValueError("a signature must not expire before it can be read")
    return (f"t={began};", f"x={ends};")


def _packed(words: Sequence[str], glue: str) -> Iterator[str]:
    """Words in as few lines as hold them; each line continues a field."""
    line = f"\t{words[0]}"
    for word in words[1:]:
        if len(line) + len(glue) + len(word) > _LINE:
            yield line
            line = f"\t{word}"
        else:
            line += glue + word
    yield line
