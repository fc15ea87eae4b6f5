"""What a mechanism is: challenge out, response in, a claim at the end.

A mechanism decides nothing about people. It reads the client's responses and
says what they claim; whether that is true is for others to find out. One
whose next challenge needs what only the outside knows asks for it on the way
(`KeysWanted`).
"""

from typing import Final, Protocol

from attrs import field, frozen

from submitd.sasl.scram_keys import ScramKeys

MECHANISMS: Final = (
    "PLAIN",
    "LOGIN",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    "OAUTHBEARER",
    "XOAUTH2",
    "EXTERNAL",
    "CRAM-MD5",
)
"""All, in the order in which they are offered: devices take the first that they
know, and of many of them PLAIN is the only one that works.
"""


@frozen
class Password:
    """A name and a password, to be proved right or wrong."""

    authcid: str
    """Who proves; SASLprep has been applied."""

    authzid: str
    """As whom they want to act; empty where the client did not say."""

    password: str = field(repr=False)


@frozen
class KeysWanted:
    """SCRAM: go on with the stored keys of this name, by `Exchange.take_keys`."""

    keys_of: str
    """SASLprep has been applied."""


@frozen
class KeysProof:
    """SCRAM: what the client's proof came to, against the keys that were taken."""

    authcid: str
    authzid: str
    fault: str
    """What is wrong with it, for the log; empty: nothing."""


@frozen
class Digest:
    """CRAM-MD5: an HMAC of the challenge, with the password for its key."""

    authcid: str
    challenge: bytes = field(repr=False)
    digest: str = field(repr=False)
    """In small hexadecimal digits."""

    authzid: str = ""


@frozen
class Token:
    """OAuth: a bearer token, to be checked. Empty: the client had none."""

    authzid: str
    """As whom they want to act; empty where the client did not say."""

    token: str = field(repr=False)


@frozen
class Certificate:
    """EXTERNAL: what TLS has proved already."""

    authzid: str


Proof = KeysProof | Digest | Token | Certificate
"""A claim that has no password in it."""

Step = bytes | Password | Proof | KeysWanted | None
"""What a response led to: a challenge, a claim, a question, or None: malformed."""


class Exchange(Protocol):
    """One run of a mechanism, on the server's side."""

    @property
    def first_challenge(self) -> bytes:
        """What to send where the client gave no initial response."""

    def respond(self, response: bytes) -> Step:
        """Take the client's response, decoded from base64."""

    def take_keys(self, keys: ScramKeys) -> bytes:
        """The next challenge, with the answer to `KeysWanted`."""

    def last_words(self, *, accepted: bool) -> bytes | None:
        """What the client is to hear in a last challenge, before the verdict on
        its claim (RFC 4422 section 5, additional data); None: the verdict alone.
        """


class Mechanism(Protocol):
    """A way to log in (RFC 4422)."""

    @property
    def name(self) -> str:
        """As registered with IANA, in capitals."""

    def start(self) -> Exchange:
        """A new exchange."""


class Plainly:
    """An exchange that asks no question and has no last words."""

    def take_keys(self, keys: ScramKeys) -> bytes:
        """As `Exchange.take_keys`."""
        raise TypeError(f"nobody asked for {keys!r}")

    def last_words(self, *, accepted: bool) -> bytes | None:  # noqa: ARG002
        """As `Exchange.last_words`."""
        return None
