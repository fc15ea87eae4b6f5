"""Replies, and every sentence that this server says by itself."""

from collections.abc import Iterable
from typing import Final

from attrs import evolve, field, frozen

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
        if len(line) > MAX_TEXT or len(line.encode()) > MAX_TEXT:
            raise ValueError("a reply line of over 512 octets")


def _as_lines(text: str | Iterable[str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


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
    lines: tuple[str, ...] = field(converter=_as_lines, validator=_is_speakable)
    """The text, line by line. A plain string is one line."""

    _octets: bytes = field(default=b"", init=False, eq=False, repr=False)

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

    @property
    def in_ascii(self) -> "Reply":
        """The same for a client that did not ask for UTF-8 (RFC 6531 3.7.4)."""
        return evolve(
            self,
            lines=tuple(
                line.encode("ascii", "replace").decode("ascii") for line in self.lines
            ),
        )

    def encode(self) -> bytes:
        """The reply as it goes on the wire, CRLF included (UTF-8)."""
        # Most replies are said many thousand times.
        if not self._octets:
            object.__setattr__(self, "_octets", self._encoded())
        return self._octets

    def _encoded(self) -> bytes:
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        *most, last = self.lines
        return "".join(
            [f"{self.code}-{enhanced}{line}\r\n" for line in most]
            + [f"{self.code} {enhanced}{last}\r\n"]
        ).encode()


def _reply(code: int, subject: int, detail: int, *lines: str) -> Reply:
    return Reply(code, EnhancedCode(code // 100, subject, detail), lines)


OK: Final = _reply(250, 0, 0, "Ok")
ACCEPTED_BEFORE: Final = _reply(250, 1, 5, "Recipient was accepted before")
BYE: Final = _reply(221, 0, 0, "Bye")
HELP: Final = _reply(
    214,
    0,
    0,
    "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP HELP VRFY QUIT",
    "This is a message submission server (RFC 6409).",
)
NOT_VERIFIED: Final = _reply(252, 0, 0, "Not verified; send it, and we will try")
CHUNK_OK: Final = _reply(250, 0, 0, "Chunk received")
READY_FOR_TLS: Final = _reply(220, 0, 0, "Ready to start TLS")

BAD_COMMAND: Final = _reply(500, 5, 2, "Command not recognized")
BAD_OCTETS: Final = _reply(500, 5, 2, "Control characters in a command")
BARE_LINE_END: Final = _reply(500, 5, 2, "Lines must end with CR LF")
LINE_TOO_LONG: Final = _reply(500, 5, 2, "Line too long")
NOT_IMPLEMENTED: Final = _reply(502, 5, 1, "Command not implemented")
BAD_SEQUENCE: Final = _reply(503, 5, 1, "Commands out of order")
HELLO_FIRST: Final = _reply(503, 5, 1, "Say EHLO first")
MAIL_FIRST: Final = _reply(503, 5, 1, "Say MAIL first")
RECIPIENT_FIRST: Final = _reply(503, 5, 1, "Say RCPT first")
BINARY_BY_CHUNKS: Final = _reply(503, 5, 1, "BODY=BINARYMIME comes by BDAT; say RSET")
NESTED_MAIL: Final = _reply(503, 5, 1, "A transaction is open; say RSET first")
NO_RECIPIENTS: Final = _reply(554, 5, 1, "No recipient was accepted")
NO_ARGUMENT: Final = _reply(501, 5, 4, "This command takes no argument")
BAD_HELLO: Final = _reply(501, 5, 4, "Say the name of your host: one word")
_HELP_ON: Final = {
    "EHLO": "EHLO host: names this client; lists what is offered",
    "HELO": "HELO host: names this client; nothing is offered",
    "STARTTLS": "STARTTLS: TLS begins behind the reply; then say EHLO again",
    "AUTH": "AUTH mechanism [initial-response]: log in",
    "MAIL": "MAIL FROM:<address> [parameters]: begins a message",
    "RCPT": "RCPT TO:<address> [parameters]: one of its recipients",
    "DATA": "DATA: the content follows, up to a line with a dot alone",
    "BDAT": "BDAT size [LAST]: so many octets of the content follow",
    "RSET": "RSET: forgets the message that was begun",
    "NOOP": "NOOP [anything]: does nothing",
    "HELP": "HELP [command]: this",
    "VRFY": "VRFY name: is answered, but verifies nothing",
    "QUIT": "QUIT: ends the session",
}


def _help_on(words: str) -> Reply:
    return Reply(214, EnhancedCode(2, 0, 0), words)


HELP_ON: Final = {
    verb.encode("ascii"): _help_on(words) for verb, words in _HELP_ON.items()
}
"""What HELP says of one command."""

NO_HELP: Final = _reply(504, 5, 4, "There is no help on that")

BAD_ARGUMENT: Final = _reply(501, 5, 4, "An argument is missing")

# Paths and parameters.
MAIL_SYNTAX: Final = _reply(501, 5, 4, "Say MAIL FROM:<address>")
RCPT_SYNTAX: Final = _reply(501, 5, 4, "Say RCPT TO:<address>")
SENDER_BRACKETS: Final = _reply(501, 1, 7, "Put the sender in angle brackets")
RECIPIENT_BRACKETS: Final = _reply(501, 1, 3, "Put the recipient in angle brackets")
NO_NULL_RECIPIENT: Final = _reply(501, 1, 3, "A recipient must have an address")
NOT_ASCII_SENDER: Final = _reply(553, 6, 7, "Non-ASCII sender without SMTPUTF8")
NOT_ASCII_RECIPIENT: Final = _reply(553, 6, 7, "Non-ASCII recipient without SMTPUTF8")
BAD_PARAMETER: Final = _reply(501, 5, 4, "Bad parameter")
REPEATED_PARAMETER: Final = _reply(501, 5, 4, "Parameter given twice")
UNKNOWN_PARAMETER: Final = _reply(555, 5, 4, "Parameter not recognized")
BAD_PRIORITY: Final = _reply(501, 5, 2, "The priority is a number from -9 to 9")
REPEATED_PRIORITY: Final = _reply(501, 5, 2, "Priority given twice")
REPEATED_HOLD: Final = _reply(501, 5, 4, "Say HOLDFOR or HOLDUNTIL, and once")
HOLD_TOO_LONG: Final = _reply(501, 5, 4, "The message would be held for too long")
RELEASE_AFTER_DELIVERY: Final = _reply(
    501, 5, 4, "The message would be held for longer than it may take"
)
TOO_SOON: Final = _reply(555, 5, 4, "Nothing can be delivered in so short a time")
TOO_LARGE: Final = _reply(552, 3, 4, "The message is too large")
TOO_MANY_RECIPIENTS: Final = _reply(452, 5, 3, "Too many recipients; send another copy")

# Content.
BAD_CONTENT: Final = _reply(
    550, 6, 0, "The message holds a bare CR, a bare LF or a NUL"
)
BAD_HEADER_LINES: Final = _reply(
    550, 6, 0, "The header section holds a bare CR, a bare LF or a NUL"
)
BAD_CHUNK: Final = _reply(501, 5, 4, "Say BDAT size, or BDAT size LAST")
HUGE_CHUNK: Final = _reply(552, 3, 4, "No chunk can be that large")

# Logging in.
BAD_CREDENTIALS: Final = _reply(535, 7, 8, "User name or password not accepted")
TLS_FIRST: Final = _reply(530, 7, 0, "Must issue a STARTTLS command first")
TLS_IN_USE: Final = _reply(503, 5, 1, "TLS is in use")
BEHIND_STARTTLS: Final = _reply(503, 5, 1, "Nothing may follow STARTTLS before TLS")
AUTH_REQUIRED: Final = _reply(530, 7, 0, "Log in first")
AUTH_NEEDS_TLS: Final = _reply(538, 7, 11, "Must issue a STARTTLS command first")
AUTH_TWICE: Final = _reply(503, 5, 1, "You are logged in")
AUTH_UNKNOWN: Final = _reply(504, 5, 4, "No such way to log in here")
AUTH_CANCELLED: Final = _reply(501, 7, 0, "Log-in cancelled")
AUTH_MALFORMED: Final = _reply(501, 5, 2, "That cannot be decoded")
AUTH_TOO_LONG: Final = _reply(500, 5, 6, "Line too long for a log-in")
BRAKED: Final = _reply(454, 7, 0, "Too many failed log-ins, try again later")

# Why a session ends without QUIT.
TOO_MANY_ERRORS: Final = _reply(421, 7, 0, "Too many errors, closing")
TOO_MANY_LOG_INS: Final = _reply(421, 7, 0, "Too many failed log-ins, closing")
CANNOT_GO_ON: Final = _reply(421, 5, 0, "Cannot go on after this, closing")


def bad_sender(why: str) -> Reply:
    """The reverse-path has bad syntax; ``why`` is a `BadAddress`'s."""
    return _reply(501, 1, 7, f"Bad sender address: {why}")


def bad_recipient(why: str) -> Reply:
    """The forward-path has bad syntax; ``why`` is a `BadAddress`'s."""
    return _reply(501, 1, 3, f"Bad recipient address: {why}")


def priority_assigned(priority: int) -> Reply:
    """MAIL is accepted, with a lower priority than it asked for (RFC 6710 4.1)."""
    return _reply(250, 3, 6, f"{priority} is the priority of this message")
