"""What log-ins are told apart with: kept, so that a restart tells nobody anything."""

import secrets
from pathlib import Path
from typing import Final

from submitd.observe.events import (
    LOG_IN_SECRET_MADE,
    LOG_IN_SECRET_UNKEPT,
    Events,
)
from submitd.spool.files import replace_durably

FILE: Final = "log-in-secret"
_SIZE: Final = 32
"""Octets."""


def kept_secret(folder: Path, events: Events) -> bytes:
    """The secret of this server's; one is made where there is none. Blocks.

    Names that have no keys for SCRAM get some made up of it. With another secret these
    would change, and who asked before and after would know that nobody has the name.
    """
    file = folder / FILE
    try:
        found = _read(file)
        if len(found) == _SIZE:
            return found
    except OSError as problem:
        return _for_this_start(file, problem, events)
    made = secrets.token_bytes(_SIZE)
    try:
        replace_durably(file, made)
    except OSError as problem:
        return _for_this_start(file, problem, events)
    # What was copied from another host, and not whole, is none.
    reason = f"what was there had not {_SIZE} octets" if found else None
    events.emit(LOG_IN_SECRET_MADE, file=str(file), reason=reason)
    return made


def _read(file: Path) -> bytes:
    """Empty: there is none. Raises OSError."""
    try:
        with file.open("rb") as opened:
            return opened.read(_SIZE + 1)
    except FileNotFoundError:
        return b""


def _for_this_start(file: Path, problem: OSError, events: Events) -> bytes:
    # That must not keep anybody from mail.
    events.emit(LOG_IN_SECRET_UNKEPT, file=str(file), reason=str(problem))
    return secrets.token_bytes(_SIZE)
