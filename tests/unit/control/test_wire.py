import pytest

from submitd.control.wire import NotUnderstood, decode, encode, refusal


def test_a_message_is_one_line_and_comes_back_as_it_was() -> None:
    message = {"ok": True, "text": "a\nb\u2028ü", "numbers": [1, None]}

    line = encode(message)

    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b"5", "not an object"),
    ],
)
def test_what_is_no_object_is_not_understood(line: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        decode(line)


def test_a_refusal_lists_its_problems() -> None:
    assert refusal("a", "b") == {"ok": False, "problems": ["a", "b"]}
