"""AUTH: an argument and lines that follow it. Nothing raises, no secret shows.

The lines are joined by line feeds; the first one is the argument of AUTH. Where the
first octet is ``=`` the other lines are responses, to be encoded in base64.
"""

from base64 import b64encode

from submitd.sasl.mechanism import MECHANISMS, KeysProof
from submitd.sasl.prepare import prepare
from submitd.smtp.authentication import Authentication, Outcome, begin
from submitd.smtp.event import KeysFound, KeysWanted, PasswordOffered, ProofOffered
from submitd.smtp.reply import Reply
from tests.support.mechanisms import PENCIL, named_all

_MECHANISMS = {one.name.encode(): one for one in named_all(", ".join(MECHANISMS))}
_ACCEPTED = Reply(235, None, "Welcome")
_REFUSED = Reply(535, None, "No")


def seeds() -> list[bytes]:
    """Each mechanism, done right."""
    return [
        b"PLAIN AGFsaWNlAHNlY3JldA==",
        b"=PLAIN\n\0alice\0secret",
        b"=PLAIN\nbob\0alice\0secret",
        b"=LOGIN\nalice\nsecret",
        b"LOGIN YWxpY2U=\n*",
        (
            b"=SCRAM-SHA-256\nn,,n=user,r=rOprNGfwEbeRWgbNEkqO\n"
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=\n"
        ),
        (
            b"=SCRAM-SHA-256-PLUS\np=tls-exporter,a=bob,n=us=2Cer,r=abc\n"
            b"c=cD10bHM=,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA\n"
        ),
        b"=OAUTHBEARER\nn,a=alice,\x01host=x\x01port=587\x01auth=Bearer to.ken\x01\x01",
        b"=XOAUTH2\nuser=alice\x01auth=Bearer to.ken\x01\x01\n",
        b"=EXTERNAL\nalice",
        b"=CRAM-MD5\ntim b913a602c7eda7a495b4e6e7334d3890",
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
        if authentication is None:
            break
        if not isinstance(outcome, Reply):
            outcome = _answered(authentication, outcome)
        if outcome.code != 334:
            break
        outcome = authentication.receive_line(line)
    if isinstance(outcome, Reply):
        outcome.encode()


def _answered(authentication: Authentication, asked: Outcome) -> Reply:
    """As a desk answers, who believes every claim that is not at fault."""
    if isinstance(asked, KeysWanted):
        return authentication.take_keys(KeysFound(PENCIL))
    if isinstance(asked, PasswordOffered):
        assert asked.authcid
        assert asked.password
    assert not isinstance(asked, Reply)
    for secret in ("password", "token", "digest"):
        assert secret not in repr(asked)
    return authentication.conclude(_REFUSED if _is_faulty(asked) else _ACCEPTED)


def _is_faulty(asked: PasswordOffered | ProofOffered) -> bool:
    proof = getattr(asked, "proof", None)
    return isinstance(proof, KeysProof) and bool(proof.fault)


def _prepare(octets: bytes) -> None:
    prepared = prepare(octets.decode("utf-8", "replace"))
    if prepared is not None:
        assert "\0" not in prepared
        assert "\n" not in prepared
