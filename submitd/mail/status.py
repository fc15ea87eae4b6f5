"""Enhanced status codes (RFC 3463)."""

import re
from typing import Final, Self

from attrs import field, frozen, validators

_WIRE: Final = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")
_DETAIL: Final = validators.and_(validators.ge(0), validators.le(999))


@frozen(order=True)
class EnhancedCode:
    """``severity.subject.detail``, as in 5.7.1.

    Raises:
        ValueError: the severity is none of 2, 4, 5, or a part is out of range.

    Source: RFC 3463 section 2.
    """

    severity: int = field(validator=validators.in_((2, 4, 5)))
    subject: int = field(validator=_DETAIL)
    detail: int = field(validator=_DETAIL)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The code in ``text``, or None where it holds no code and nothing else."""
        if (found := _WIRE.fullmatch(text)) is None:
            return None
        severity, subject, detail = map(int, found.groups())
        return cls(severity, subject, detail)

    def __str__(self) -> str:
        return f"{self.severity}.{self.subject}.{self.detail}"
