"""Until when a message counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.usage import Span


@pytest.mark.parametrize(
    ("span", "at", "until"),
    [
        (Span.MINUTE, 1000.0, 1070.0),
        (Span.MINUTE, 1009.9, 1070.0),
        (Span.MINUTE, 1010.0, 1080.0),
        (Span.HOUR, 7200.0, 10860.0),
        (Span.DAY, 86400.0, 174600.0),
    ],
)
def test_a_message_counts_to_the_end_of_its_grain_and_a_span(
    span: Span, at: float, until: float
) -> None:
    assert span.until(at) == until


@given(st.sampled_from(Span), st.floats(0, 4e9))
def test_it_counts_for_a_whole_span_at_least_and_a_grain_more_at_most(
    span: Span, at: float
) -> None:
    assert span.seconds < span.until(at) - at <= span.seconds + span.grain + 1e-6
