"""SASLprep: one form for names and passwords that look alike (RFC 4013)."""

import re
import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

# Tables of RFC 3454, as the standard library has them: looked up there one by one, a
# name could take the event loop tens of milliseconds.

_NOTHING: Final = re.compile(
    r"[\xad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]"
)
"""B.1: mapped to nothing."""

_SPACES: Final = re.compile(r"[\xa0\u1680\u2000-\u200b\u202f\u205f\u3000]")
"""C.1.2: spaces beside the one."""

_PROHIBITED: Final = re.compile(
    r"[\x00-\x1f\x7f-\xa0\u0340\u0341\u06dd\u070f\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u2063\u206a-\u206f\u2ff0-\u2ffb\u3000\ud800-\uf8ff"
    r"\ufdd0-\ufdef\ufeff\ufff9-\uffff\U0001d173-\U0001d17a\U0001fffe\U0001ffff"
    r"\U0002fffe\U0002ffff\U0003fffe\U0003ffff\U0004fffe\U0004ffff"
    r"\U0005fffe\U0005ffff\U0006fffe\U0006ffff\U0007fffe\U0007ffff"
    r"\U0008fffe\U0008ffff\U0009fffe\U0009ffff\U000afffe\U000affff"
    r"\U000bfffe\U000bffff\U000cfffe\U000cffff\U000dfffe\U000dffff\U000e0001"
    r"\U000e0020-\U000e007f\U000efffe-\U0010ffff]"
)
"""C.1.2 to C.9."""

_RIGHT_TO_LEFT: Final = re.compile(
    r"[\u05be\u05c0\u05c3\u05d0-\u05ea\u05f0-\u05f4\u061b\u061f\u0621-\u063a"
    r"\u0640-\u064a\u066d-\u066f\u0671-\u06d5\u06dd\u06e5\u06e6\u06fa-\u06fe"
    r"\u0700-\u070d\u0710\u0712-\u072c\u0780-\u07a5\u07b1\u200f\ufb1d\ufb1f-\ufb28"
    r"\ufb2a-\ufb36\ufb38-\ufb3c\ufb3e\ufb40\ufb41\ufb43\ufb44\ufb46-\ufbb1"
    r"\ufbd3-\ufd3d\ufd50-\ufd8f\ufd92-\ufdc7\ufdf0-\ufdfc\ufe70-\ufe74"
    r"\ufe76-\ufefc]"
)
"""D.1."""

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
    mapped = _SPACES.sub(" ", _NOTHING.sub("", text))
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if len(prepared) > _LONGEST or _PROHIBITED.search(prepared):
        return None
    return prepared if _reads_one_way(prepared) else None


def _reads_one_way(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text stands alone."""
    if _RIGHT_TO_LEFT.search(text) is None:
        return True
    return bool(
        _RIGHT_TO_LEFT.match(text[0])
        and _RIGHT_TO_LEFT.match(text[-1])
        and not any(map(stringprep.in_table_d2, text))
    )
