import pytest

from submitd.mail.status import EnhancedCode


@pytest.mark.rfc("3463", "2")
@pytest.mark.parametrize("text", ["2.0.0", "4.7.12", "5.999.999"])
def test_a_code_is_read_and_written(text: str) -> None:
    code = EnhancedCode.parse(text)

    assert code is not None
    assert str(code) == text


@pytest.mark.rfc("3463", "2")
@pytest.mark.parametrize(
    "text",
    ["", "3.0.0", "5.1", "5.1.1.1", "5.1.1000", "5.1.1 ", "x5.1.1", "5.1.٣", "5.-1.1"],
)
def test_what_is_no_code_is_none(text: str) -> None:
    assert EnhancedCode.parse(text) is None


@pytest.mark.parametrize("parts", [(3, 0, 0), (5, 1000, 0), (5, 0, 1000), (5, -1, 0)])
def test_a_code_that_exists_is_valid(parts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"severity|subject|detail"):
        EnhancedCode(*parts)


def test_codes_have_an_order() -> None:
    """For listings: by severity, then subject, then detail."""
    codes = [EnhancedCode(5, 1, 1), EnhancedCode(4, 7, 1), EnhancedCode(4, 4, 2)]

    assert [str(code) for code in sorted(codes)] == ["4.4.2", "4.7.1", "5.1.1"]
