import pytest

from submitd.mail.status import EnhancedCode
from submitd.smtp import reply
from submitd.smtp.reply import MAX_TEXT, Reply


@pytest.mark.rfc("5321", "4.2")
def test_a_reply_is_a_code_and_a_line() -> None:
    assert Reply(250, None, "submit.example.org").encode() == (
        b"250 submit.example.org\r\n"
    )
    assert Reply(334, None, "").encode() == b"334 \r\n"


@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("2034", "4")
def test_each_line_of_a_reply_bears_both_codes() -> None:
    verdict = Reply(553, EnhancedCode(5, 7, 1), ["Not yours.", "You may use:", "bob@"])

    assert verdict.encode() == (
        b"553-5.7.1 Not yours.\r\n553-5.7.1 You may use:\r\n553 5.7.1 bob@\r\n"
    )
    assert verdict.text == "Not yours. You may use: bob@"


def test_a_reply_says_the_same_each_time() -> None:
    verdict = Reply(250, None, "Ok")

    assert verdict.encode() == verdict.encode() == b"250 Ok\r\n"
    assert verdict == Reply(250, None, "Ok")
    assert repr(verdict) == "Reply(code=250, enhanced=None, lines=('Ok',))"


@pytest.mark.rfc("2034", "4")
@pytest.mark.parametrize("code", [250, 354, 450, 550])
def test_the_two_codes_of_a_reply_agree(code: int) -> None:
    for severity in {2, 4, 5} - {code // 100}:
        with pytest.raises(ValueError, match="cannot carry"):
            Reply(code, EnhancedCode(severity, 0, 0), "")


@pytest.mark.parametrize("code", [0, 100, 199, 600])
def test_a_reply_code_has_a_meaning(code: int) -> None:
    with pytest.raises(ValueError, match="no reply code"):
        Reply(code, None, "")


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.parametrize("text", ["a\r\n250 Ok", "a\nb", "a\0", "a\x85b", "a\u2028b"])
def test_the_text_of_a_reply_cannot_make_another_reply(text: str) -> None:
    """Or a directory or a remote host could speak as we do."""
    with pytest.raises(ValueError, match="unprintable"):
        Reply(250, None, text)


def test_a_reply_has_a_line() -> None:
    with pytest.raises(ValueError, match="needs a line"):
        Reply(250, None, ())


@pytest.mark.rfc("5321", "4.5.3.1.5")
def test_a_line_of_a_reply_has_at_most_512_octets() -> None:
    longest = Reply(250, EnhancedCode(2, 999, 999), ("x" * MAX_TEXT,))

    assert len(longest.encode()) <= 512
    with pytest.raises(ValueError, match="512"):
        Reply(250, None, "x" * (MAX_TEXT + 1))
    with pytest.raises(ValueError, match="512"):
        Reply(250, None, "ü" * (MAX_TEXT // 2 + 1))


@pytest.mark.rfc("6531", "3.7.4.2")
def test_a_reply_can_be_said_to_a_client_that_reads_ascii() -> None:
    verdict = Reply(550, EnhancedCode(5, 7, 1), ("<bøb@example.org>", "no"))

    assert verdict.encode() == (
        "550-5.7.1 <bøb@example.org>\r\n550 5.7.1 no\r\n".encode()
    )
    assert verdict.in_ascii.encode() == (
        b"550-5.7.1 <b?b@example.org>\r\n550 5.7.1 no\r\n"
    )


@pytest.mark.rfc("5321", "4.2.1")
def test_the_first_digit_tells_yes_not_now_and_no() -> None:
    told = {
        code: (Reply(code, None, "").is_positive, Reply(code, None, "").is_transient)
        for code in (250, 354, 450, 550)
    }

    assert told == {
        250: (True, False),
        354: (True, False),
        450: (False, True),
        550: (False, False),
    }


@pytest.mark.rfc("2034", "4")
def test_every_sentence_of_our_own_is_ascii_and_has_an_enhanced_code() -> None:
    sentences = [one for one in vars(reply).values() if isinstance(one, Reply)]

    assert len(sentences) > 40
    for one in sentences:
        assert one.enhanced is not None, one
        assert one.encode().isascii(), one
