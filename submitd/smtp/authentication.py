"""AUTH: base64 lines around the responses of a SASL mechanism (RFC 4954)."""

import binascii
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from submitd.smtp import reply
from submitd.smtp.event import KeysFound, KeysWanted, PasswordOffered, ProofOffered
from submitd.smtp.reply import Reply


@runtime_checkable
class PasswordClaim(Protocol):
    """A name and a password, as a mechanism read them."""

    @property
    def authcid(self) -> str: ...
    @property
    def authzid(self) -> str: ...
    @property
    def password(self) -> str: ...


@runtime_checkable
class KeysQuestion(Protocol):
    """A mechanism needs the stored keys of a name."""

    @property
    def keys_of(self) -> str: ...


class Exchange(Protocol):
    """One run of a mechanism."""

    @property
    def first_challenge(self) -> bytes: ...

    def respond(self, response: bytes) -> object:
        """The next challenge (bytes), a `PasswordClaim`, a `KeysQuestion`, another
        proof, or None: malformed.
        """

    def take_keys(self, keys: Any) -> bytes:  # noqa: ANN401 - of the mechanism's own kind
        """The next challenge, with the answer to a question."""

    def last_words(self, *, accepted: bool) -> bytes | None:
        """A last challenge before the verdict; None: there is none."""


class Mechanism(Protocol):
    """What AUTH needs of a SASL mechanism."""

    @property
    def name(self) -> str: ...

    def start(self) -> Exchange: ...


Outcome = Reply | PasswordOffered | ProofOffered | KeysWanted
"""What a line of AUTH led to: a challenge (334) and any other reply, or a question."""


class Authentication:
    """One AUTH command, from its line to the verdict."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism.name
        self._exchange = mechanism.start()
        self._verdict: Reply | None = None
        """Given, but not said before the client has answered our last words."""

    def open(self, initial: bytes) -> Outcome:
        """Begin; ``initial`` is the initial response as sent, or empty.

        A 334 means that a line is to come, for `receive_line`. Any other
        reply ends the exchange.
        """
        if not initial:
            return _challenge(self._exchange.first_challenge)
        # An empty response cannot be written as nothing here (section 4).
        return self._respond(b"" if initial == b"=" else initial)

    def receive_line(self, line: bytes) -> Outcome:
        """Take the client's next line."""
        if line == b"*":
            return reply.AUTH_CANCELLED
        if self._verdict is None:
            return self._respond(line)
        if self._verdict.is_positive and line:
            return reply.AUTH_MALFORMED
        return self._verdict

    def take_keys(self, found: KeysFound) -> Reply:
        """Go on with the keys that were asked for."""
        return _challenge(self._exchange.take_keys(found.keys))

    def conclude(self, verdict: Reply) -> Reply:
        """What the client hears first: ``verdict`` on its claim, or our last words.

        Those are a 334, and the verdict comes behind the client's next line: there is
        no other place for them in SMTP (section 4).
        """
        if verdict.is_transient:
            return verdict
        words = self._exchange.last_words(accepted=verdict.is_positive)
        if words is None:
            return verdict
        self._verdict = verdict
        return _challenge(words)

    def _respond(self, encoded: bytes) -> Outcome:
        try:
            response = binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error:
            return reply.AUTH_MALFORMED
        step = self._exchange.respond(response)
        if step is None:
            return reply.AUTH_MALFORMED
        if isinstance(step, bytes):
            return _challenge(step)
        if isinstance(step, KeysQuestion):
            return KeysWanted(self._mechanism, step.keys_of)
        if not isinstance(step, PasswordClaim):
            return ProofOffered(self._mechanism, step)
        if not (step.authcid and step.password):
            # Many directories take a name without a password for a log-in as
            # nobody and say yes (RFC 4513 section 5.1.2): never ask them.
            return reply.BAD_CREDENTIALS
        return PasswordOffered(
            self._mechanism, step.authcid, step.authzid, step.password
        )


def _challenge(octets: bytes) -> Reply:
    return Reply(334, None, binascii.b2a_base64(octets, newline=False).decode())


def begin(
    argument: bytes, mechanisms: Mapping[bytes, Mechanism]
) -> tuple[Authentication | None, Outcome]:
    """Read the argument of AUTH: the exchange, and what comes of it first."""
    name, _, initial = argument.partition(b" ")
    if not name:
        return None, reply.BAD_ARGUMENT
    mechanism = mechanisms.get(name.upper())
    if mechanism is None:
        return None, reply.AUTH_UNKNOWN
    authentication = Authentication(mechanism)
    return authentication, authentication.open(initial)
