"""What submitd's log says while the demonstration is up, for the terminal."""

import re
from pathlib import Path
from typing import Final

_SHOWN: Final = re.compile(
    r"\[(?:login-\w+|sender-refused|message-\w+|report-\w+|worker-died|bug"
    r"|session-broken|attempt-broke|directory-down)\]"
)
_LEFT_OUT: Final = re.compile(r" (?:\[[\w-]+\]|(?:session|worker|message_id)=\S+)")
_MOST: Final = 64 * 1024


class Story:
    """Follows a log file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._rest = b""

    def more(self) -> list[str]:
        """Lines that came since the last call and tell of a message."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._at)
                octets = file.read(_MOST)
        except FileNotFoundError:
            return []
        self._at += len(octets)
        *lines, self._rest = (self._rest + octets).split(b"\n")
        texts = (line.decode(errors="replace") for line in lines)
        return [_brief(text) for text in texts if _SHOWN.search(text)]


def _brief(line: str) -> str:
    """Without the date and what tells one session from another."""
    time, _, rest = line.partition(" ")
    return f"{time[11:19]} {_LEFT_OUT.sub('', rest)}"
