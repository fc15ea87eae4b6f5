"""Messages in another form."""

from submitd.mail.rendition import Rewriting, Survey, Target


def split(message: bytes) -> tuple[bytes, bytes]:
    """Its header section with the empty line, and its body."""
    header, empty, body = message.partition(b"\r\n\r\n")
    return header + empty, body


def convert(
    message: bytes, target: Target, cut: int = 1 << 20, *, smtputf8: bool = False
) -> bytes:
    """The form of it for hosts that take no more than ``target``.

    ``cut``: octets of the body that come at once.

    Raises:
        CannotConvert: there is none.
    """
    header, body = split(message)
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    survey = Survey(target, header, smtputf8=smtputf8)
    for piece in pieces:
        survey.feed(piece)
    rewriting = Rewriting(survey.finish(), header)
    given_out = [rewriting.feed(piece) for piece in pieces]
    return b"".join([rewriting.header, b"\r\n", *given_out, rewriting.finish()])
