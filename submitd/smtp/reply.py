"""Replies, and every sentence that this server says by itself."""

from typing import Final

from attrs import field, frozen

from submitd.mail.status import EnhancedCode

MAX_TEXT: Final = 512 - len("250-5.7.999 \r\n") - 4
"""Octets of text that fit a reply line (RFC 5321 section 4.5.3.1.5)."""


def _is_speakable(_: object, __: object, lines: tuple[str, ...]) -> None:
    # A line break here would let words that a remote host or a directory
    # sent us be read by our client as a reply of ours.
    if not lines:
        raise ValueError("a reply needs a line of text, if only an empty one")
    for line in lines:
        if line and not line.isprintable():
            raise ValueError(f"unprintable reply text: {line!r}")
        if len(line.encode("utf-8", "surrogatepass")) > MAX_TEXT:
            raise ValueError("a reply line of over 512 octets")


@frozen
class Reply:
    """One answer to one command.

    An error the client should hear about *is* a Reply: code, enhanced code
    and text are chosen together, where the cause is known, and never put
    together again further up.

    Raises:
        ValueError: the two codes disagree, or the text would break framing.

    Source: RFC 5321 section 4.2, RFC 2034 section 4.
    """

    code: int
    enhanced: EnhancedCode | None
    lines: tuple[str, ...] = field(
        converter=lambda text: (text,) if isinstance(text, str) else tuple(text),
        validator=_is_speakable,
    )
    """The text, line by line. A plain string is one line."""

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no reply code")
        if self.enhanced and self.enhanced.severity != self.code // 100:
            raise ValueError(f"{self.code} cannot carry {self.enhanced}")

    @property
    def text(self) -> str:
        """All of the text as one line."""
        return " ".join(self.lines)

    @property
    def is_positive(self) -> bool:
        """True for 2yz and 3yz."""
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """True where the client should try again later (4yz)."""
        return self.code // 100 == 4

    def encode(self) -> bytes:
        """The reply as it goes on the wire, CRLF included (UTF-8)."""
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        *most, last = self.lines
        return "".join(
            [f"{self.code}-{enhanced}{line}\r\n" for line in most]
            + [f"{self.code} {enhanced}{last}\r\n"]
        ).encode()
