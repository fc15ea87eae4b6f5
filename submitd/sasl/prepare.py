"""SASLprep: one form for names and passwords that look alike (RFC 4013)."""

import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)

_LONGEST: Final = 1024
"""Characters: of more nobody's name or password is made. A line of a log-in may
bring twelve times as many, each of which can become eighteen."""


def prepare(text: str) -> str | None:
    """The prepared form of a name or password; None: it can have none.

    As a query (RFC 3454 section 7): code points that Unicode 3.2 did not
    know pass unchanged, so that a password may hold an emoji.
    """
    if len(text) > _LONGEST:
        return None
    if text.isascii():
        return text if text.isprintable() else None
    mapped = "".join(
        " " if stringprep.in_table_c12(one) else one
        for one in text
        if not stringprep.in_table_b1(one)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if len(prepared) > _LONGEST:
        return None
    if any(refuses(one) for one in prepared for refuses in _PROHIBITED):
        return None
    return prepared if _reads_one_way(prepared) else None


def _reads_one_way(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text stands alone."""
    right_to_left = [stringprep.in_table_d1(one) for one in text]
    if not any(right_to_left):
        return True
    return (
        right_to_left[0]
        and right_to_left[-1]
        and not any(stringprep.in_table_d2(one) for one in text)
    )
