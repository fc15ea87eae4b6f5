"""Header sections as octets: read, prepend, leave out; never reflow.

What is not changed on purpose leaves octet for octet as it came (RFC 6409
section 8), and signatures that others made keep verifying.
"""

import re
from typing import Final, Self

from attrs import field, frozen

_NAME: Final = re.compile(rb"[\x21-\x39\x3b-\x7e]+")
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")


class MalformedHeader(ValueError):
    """A line of the header section is no field and continues none."""


@frozen
class Field:
    """One header field, folded lines and final CRLF included."""

    raw: bytes

    key: str
    """Its name in lower case, white space before the colon not counted."""

    @property
    def body(self) -> bytes:
        """What follows the colon, as it stands, without the final CRLF."""
        return self.raw.partition(b":")[2].removesuffix(b"\r\n")

    @property
    def value(self) -> bytes:
        """The body unfolded (RFC 5322 section 2.2.3), outer white space gone."""
        return _FOLD.sub(b"", self.body).strip(b" \t")


@frozen
class HeaderSection:
    """The fields of a message in their order.

    Source: RFC 5322 section 2.2, RFC 6532 section 3.
    """

    fields: tuple[Field, ...] = field(repr=False)

    @classmethod
    def parse(cls, octets: bytes) -> Self:
        """Read a header section; an empty line at its end is not part of it.

        Raises:
            MalformedHeader: with the reason, for the client to hear. A first
                line that continues nothing, a name with forbidden octets, or
                a line without a colon would be read differently by different
                programs, and the From check is worth nothing then.
        """
        lines = octets.removesuffix(b"\r\n").split(b"\r\n") if octets else []
        if lines and not lines[-1]:
            lines.pop()
        fields: list[Field] = []
        start = 0
        for number, line in enumerate(lines):
            if line[:1] in (b" ", b"\t"):
                if number == 0:
                    raise MalformedHeader("the first line continues nothing")
                continue
            if number:
                fields.append(_read(lines[start:number]))
            start = number
        if lines:
            fields.append(_read(lines[start:]))
        return cls(tuple(fields))

    @property
    def octets(self) -> bytes:
        """The section as it goes on the wire, without the empty line."""
        return b"".join(one.raw for one in self.fields)

    def get_all(self, key: str) -> tuple[Field, ...]:
        """Every field of that name (lower case), in order."""
        return tuple([one for one in self.fields if one.key == key])

    def without(self, *keys: str) -> Self:
        """The section less the fields of these names."""
        return type(self)(tuple(one for one in self.fields if one.key not in keys))

    def prepend(self, *raw: bytes) -> Self:
        """The section with whole fields put on top."""
        return type(self)((*map(make_field, raw), *self.fields))

    def append(self, *raw: bytes) -> Self:
        """The section with whole fields put at its end."""
        return type(self)((*self.fields, *map(make_field, raw)))


def make_field(raw: bytes) -> Field:
    """A field from its octets, final CRLF included.

    Raises:
        MalformedHeader: it is no single, whole field.
    """
    section = HeaderSection.parse(raw)
    if len(section.fields) != 1 or not raw.endswith(b"\r\n"):
        raise MalformedHeader("not one whole field")
    return section.fields[0]


def _read(lines: list[bytes]) -> Field:
    name, colon, _ = lines[0].partition(b":")
    # "Subject :" is obsolete syntax (RFC 5322 section 4.5.8) that some still
    # write, and that some read: it counts as the field it looks like.
    name = name.rstrip(b" \t")
    if not colon or _NAME.fullmatch(name) is None:
        raise MalformedHeader(f"this line is no header field: {lines[0][:60]!r}")
    raw = b"\r\n".join(lines) + b"\r\n"
    return Field(raw, name.decode("ascii").lower())
