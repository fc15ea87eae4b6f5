"""EXTERNAL (RFC 4422 appendix A): who they are TLS has shown already."""

from submitd.sasl.mechanism import Certificate, Plainly, Step
from submitd.sasl.prepare import prepare


class External:
    """The client's certificate; the response is as whom they want to act, if at all."""

    name = "EXTERNAL"

    def start(self) -> "ExternalExchange":
        return ExternalExchange()


class ExternalExchange(Plainly):
    """Waits for the one response."""

    first_challenge = b""

    def respond(self, response: bytes) -> Step:
        try:
            authzid = prepare(response.decode())
        except UnicodeDecodeError:
            return None
        return None if authzid is None else Certificate(authzid)
