"""What a mechanism is: challenge out, response in, a claim at the end.

A mechanism decides nothing about people. It reads the client's responses and
says what they claim; whether that is true is for others to find out.

One whose next challenge needs what only the outside knows (the stored keys of
SCRAM, RFC 5802) adds a question of its own to `Step`; the session hands that
out as an event and its answer back to the exchange, as it does with
`Password` today.
"""

from typing import Protocol

from attrs import field, frozen


@frozen
class Password:
    """A name and a password, to be proved right or wrong."""

    authcid: str
    """Who proves; SASLprep has been applied."""

    authzid: str
    """As whom they want to act; empty where the client did not say."""

    password: str = field(repr=False)


Step = bytes | Password | None
"""What a response led to: the next challenge, a claim, or None: malformed."""


class Exchange(Protocol):
    """One run of a mechanism, on the server's side."""

    @property
    def first_challenge(self) -> bytes:
        """What to send where the client gave no initial response."""

    def respond(self, response: bytes) -> Step:
        """Take the client's response, decoded from base64."""


class Mechanism(Protocol):
    """A way to log in (RFC 4422)."""

    @property
    def name(self) -> str:
        """As registered with IANA, in capitals."""

    def start(self) -> Exchange:
        """A new exchange."""
