import stringprep
from collections.abc import Callable, Sequence
from re import Pattern

import pytest

from submitd.sasl import prepare as tables
from submitd.sasl.prepare import prepare


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
    ],
)
def test_the_standard_s_own_examples_hold(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "é\u0007"])
def test_the_standard_s_own_counterexamples_hold(text: str) -> None:
    assert prepare(text) is None


@pytest.mark.rfc("4013", "2.1")
def test_spaces_of_all_kinds_are_one_kind() -> None:
    assert prepare("a\u00a0b\u3000c") == "a b c"


@pytest.mark.rfc("4013", "2.3")
@pytest.mark.parametrize(
    "text", ["é\u0085", "\ue000", "\ud800", "\u2ff0", "\u200e", "\ufff9", "\ufdd0"]
)
def test_what_has_no_place_in_a_name_is_refused(text: str) -> None:
    assert prepare(text) is None


@pytest.mark.rfc("4013", "2.4")
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u06271\u0628", "\u06271\u0628"),
        ("\u0627a\u0628", None),
        ("1\u0627", None),
    ],
)
def test_right_to_left_text_stands_alone(text: str, prepared: str | None) -> None:
    assert prepare(text) == prepared


def test_what_is_newer_than_the_tables_passes() -> None:
    """RFC 3454 section 7: a query may hold unassigned code points."""
    assert prepare("pass🦊") == "pass🦊"


@pytest.mark.parametrize("text", ["a" * 1025, "\ufdfa" * 57, "é" * 1025])
def test_what_is_longer_than_any_name_or_password_is_no_work(text: str) -> None:
    """U+FDFA becomes eighteen characters, each of which is looked at."""
    assert prepare(text) is None
    assert prepare(text[:20]) is not None


@pytest.mark.rfc("3454", "3.1")
@pytest.mark.parametrize(
    ("written", "standard"),
    [
        (tables._NOTHING, [stringprep.in_table_b1]),
        (tables._SPACES, [stringprep.in_table_c12]),
        (tables._RIGHT_TO_LEFT, [stringprep.in_table_d1]),
        (
            tables._PROHIBITED,
            [
                stringprep.in_table_c12,
                stringprep.in_table_c21_c22,
                stringprep.in_table_c3,
                stringprep.in_table_c4,
                stringprep.in_table_c5,
                stringprep.in_table_c6,
                stringprep.in_table_c7,
                stringprep.in_table_c8,
                stringprep.in_table_c9,
            ],
        ),
    ],
    ids=["B.1", "C.1.2", "D.1", "C"],
)
def test_the_tables_are_the_standards_in_all_of_unicode(
    written: Pattern[str], standard: Sequence[Callable[[str], bool]]
) -> None:
    for one in map(chr, range(0x110000)):
        expected = any(is_in(one) for is_in in standard)
        assert (written.fullmatch(one) is not None) is expected, hex(ord(one))
