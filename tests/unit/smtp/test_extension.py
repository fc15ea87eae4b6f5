import pytest

from submitd.mail.envelope import (
    Body,
    Notify,
    OriginalRecipient,
    Ret,
    SubmittedBy,
)
from submitd.smtp import extension, reply
from submitd.smtp.extension import (
    MailParameters,
    RcptParameters,
    parameters_of,
    read_parameters,
)

ALL = parameters_of((*extension.ALWAYS, *extension.OPTIONAL, extension.AUTH))


@pytest.mark.rfc("5321", "4.1.1.11")
def test_the_parameters_of_mail_are_read() -> None:
    parameters = MailParameters()

    refusal = read_parameters(
        b" SIZE=1234 body=8BitMime SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=<>",
        ALL.mail,
        parameters,
    )

    assert refusal is None
    assert parameters == MailParameters(
        body=Body.EIGHT_BIT_MIME,
        smtputf8=True,
        size=1234,
        ret=Ret.HEADERS,
        envid="a+b",
        submitted_by=SubmittedBy(None),
    )


@pytest.mark.rfc("3461", "4.1")
@pytest.mark.rfc("3461", "4.2")
def test_the_parameters_of_rcpt_are_read() -> None:
    parameters = RcptParameters(smtputf8=False)

    refusal = read_parameters(
        b"NOTIFY=success,DELAY ORCPT=RFC822;bob+2Bx@example.net", ALL.rcpt, parameters
    )

    assert refusal is None
    assert parameters.notify == Notify.SUCCESS | Notify.DELAY
    assert parameters.orcpt == OriginalRecipient("RFC822", "bob+x@example.net")


@pytest.mark.rfc("6533", "3")
def test_an_original_recipient_is_utf8_only_where_the_transaction_is() -> None:
    words = "ORCPT=utf-8;bøb@example.net".encode()
    parameters = RcptParameters(smtputf8=True)

    assert read_parameters(words, ALL.rcpt, parameters) is None
    assert parameters.orcpt == OriginalRecipient("utf-8", "bøb@example.net")
    assert read_parameters(words, ALL.rcpt, RcptParameters(smtputf8=False)) is (
        reply.BAD_PARAMETER
    )


@pytest.mark.rfc("5321", "2.2.1")
def test_an_extension_that_is_not_offered_brings_no_parameters() -> None:
    known = parameters_of(extension.ALWAYS)

    assert set(known.mail) == {b"SIZE", b"BODY"}
    assert not known.rcpt
