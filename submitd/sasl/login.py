"""LOGIN: never standardised, and what many mail programs still choose.

As in draft-murchison-sasl-login-00. The initial response, where there is
one, is the name.
"""

from submitd.sasl.mechanism import Password, Plainly, Step
from submitd.sasl.prepare import prepare


class Login:
    """The name, then the password."""

    name = "LOGIN"

    def start(self) -> "LoginExchange":
        return LoginExchange()


class LoginExchange(Plainly):
    """Waits for the name, then for the password."""

    first_challenge = b"Username:"

    def __init__(self) -> None:
        self._authcid: str | None = None

    def respond(self, response: bytes) -> Step:
        try:
            text = prepare(response.decode()) or ""
        except UnicodeDecodeError:
            return None
        if self._authcid is None:
            self._authcid = text
            return b"Password:"
        return Password(self._authcid, "", text)
