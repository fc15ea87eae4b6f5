"""PLAIN (RFC 4616)."""

from submitd.sasl.mechanism import Password, Plainly, Step
from submitd.sasl.prepare import prepare


class Plain:
    """``[authzid] NUL authcid NUL passwd`` in one response."""

    name = "PLAIN"

    def start(self) -> "PlainExchange":
        return PlainExchange()


class PlainExchange(Plainly):
    """Waits for the one response."""

    first_challenge = b""

    def respond(self, response: bytes) -> Step:
        try:
            authzid, authcid, password = response.decode().split("\0")
        except ValueError:  # no UTF-8, or not three parts
            return None
        act_as = prepare(authzid)
        if act_as is None:
            return None
        # What cannot be prepared must fail as a wrong password does (section
        # 2), and so must what is empty.
        return Password(prepare(authcid) or "", act_as, prepare(password) or "")
