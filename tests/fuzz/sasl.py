"""AUTH: an argument and lines that follow it. Nothing raises, no secret shows.

The lines are joined by line feeds; the first one is the argument of AUTH. Where the
first octet is ``=`` the other lines are responses, to be encoded in base64.
"""

from base64 import b64encode

from submitd.sasl.login import Login
from submitd.sasl.plain import Plain
from submitd.sasl.prepare import prepare
from submitd.smtp.authentication import begin
from submitd.smtp.event import PasswordOffered

_MECHANISMS = {one.name.encode(): one for one in (Plain(), Login())}


def seeds() -> list[bytes]:
    """Each mechanism, done right."""
    return [
        b"PLAIN AGFsaWNlAHNlY3JldA==",
        b"=PLAIN\n\0alice\0secret",
        b"=PLAIN\nbob\0alice\0secret",
        b"=LOGIN\nalice\nsecret",
        b"LOGIN YWxpY2U=\n*",
    ]


def one_input(octets: bytes) -> None:
    """Run the exchange until it ends, or the lines do."""
    _prepare(octets)
    first, *lines = octets.split(b"\n")
    if first.startswith(b"="):
        first = first[1:]
        lines = [b64encode(line) for line in lines]
    authentication, outcome = begin(first, _MECHANISMS)
    for line in lines:
        if authentication is None or not _is_challenge(outcome):
            break
        outcome = authentication.receive_line(line)
    if isinstance(outcome, PasswordOffered):
        assert outcome.authcid
        assert outcome.password
        assert "password" not in repr(outcome)
    else:
        outcome.encode()


def _is_challenge(outcome: object) -> bool:
    return getattr(outcome, "code", 0) == 334


def _prepare(octets: bytes) -> None:
    prepared = prepare(octets.decode("utf-8", "replace"))
    if prepared is not None:
        assert "\0" not in prepared
        assert "\n" not in prepared
