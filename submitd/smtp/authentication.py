"""AUTH: base64 lines around the responses of a SASL mechanism (RFC 4954)."""

import binascii
from collections.abc import Mapping
from typing import Protocol

from submitd.smtp import reply
from submitd.smtp.event import PasswordOffered
from submitd.smtp.reply import Reply


class Claim(Protocol):
    """A name and a password, as a mechanism read them."""

    @property
    def authcid(self) -> str: ...
    @property
    def authzid(self) -> str: ...
    @property
    def password(self) -> str: ...


class Exchange(Protocol):
    """One run of a mechanism."""

    @property
    def first_challenge(self) -> bytes: ...

    def respond(self, response: bytes) -> bytes | Claim | None:
        """The next challenge, what the client claims, or None: malformed."""


class Mechanism(Protocol):
    """What AUTH needs of a SASL mechanism."""

    @property
    def name(self) -> str: ...

    def start(self) -> Exchange: ...


class Authentication:
    """One AUTH command, from its line to the question that it leads to."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism.name
        self._exchange = mechanism.start()

    def open(self, initial: bytes) -> Reply | PasswordOffered:
        """Begin; ``initial`` is the initial response as sent, or empty.

        A 334 means that a line is to come, for `receive_line`. Any other
        reply ends the exchange.
        """
        if not initial:
            return _challenge(self._exchange.first_challenge)
        # An empty response cannot be written as nothing here (section 4).
        return self._respond(b"" if initial == b"=" else initial)

    def receive_line(self, line: bytes) -> Reply | PasswordOffered:
        """Take the client's next line."""
        return reply.AUTH_CANCELLED if line == b"*" else self._respond(line)

    def _respond(self, encoded: bytes) -> Reply | PasswordOffered:
        try:
            response = binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error:
            return reply.AUTH_MALFORMED
        step = self._exchange.respond(response)
        if step is None:
            return reply.AUTH_MALFORMED
        if isinstance(step, bytes):
            return _challenge(step)
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
) -> tuple[Authentication | None, Reply | PasswordOffered]:
    """Read the argument of AUTH: the exchange, and what comes of it first."""
    name, _, initial = argument.partition(b" ")
    if not name:
        return None, reply.BAD_ARGUMENT
    mechanism = mechanisms.get(name.upper())
    if mechanism is None:
        return None, reply.AUTH_UNKNOWN
    authentication = Authentication(mechanism)
    return authentication, authentication.open(initial)
