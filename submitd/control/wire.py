"""The admin socket's language, without IO: one JSON object a line, each way.

A request is ``{"do": NAME, ...}``; its answer ``{"ok": true, ...}`` or
``{"ok": false, "problems": [...]}``.
"""

import json
from typing import Any, Final, TypeAlias

LONGEST: Final = 1024 * 1024
"""Octets of one line."""

Message: TypeAlias = dict[str, Any]


class NotUnderstood(ValueError):
    """The line is no request, or no answer."""


def encode(message: Message) -> bytes:
    """One line, without its newline."""
    return json.dumps(message, ensure_ascii=True).encode("ascii")


def decode(line: bytes) -> Message:
    """The object on a line.

    Raises:
        NotUnderstood: there is none.
    """
    try:
        message = json.loads(line)
    except ValueError as problem:
        raise NotUnderstood("not JSON") from problem
    if not isinstance(message, dict):
        raise NotUnderstood("not an object")
    return message


def refusal(*problems: str) -> Message:
    """An answer that says what is wrong."""
    return {"ok": False, "problems": list(problems)}
