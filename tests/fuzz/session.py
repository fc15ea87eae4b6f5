"""A whole server session, with a simple desk: no input raises or depends on cuts.

All that the server can offer is offered. The first octet chooses the listener, the
limits and whether a log-in goes before, the second how the rest is cut.
"""

import re
from typing import Final

from submitd.mail.envelope import Body
from submitd.sasl.mechanism import MECHANISMS
from submitd.smtp.event import ContentArrived, ContentEnded, Event, SenderOffered
from tests.support.dialogue import Send, load_all
from tests.support.session_peer import SessionPeer, make_session

_LINE: Final = re.compile(rb"[2-5]\d\d[ -][ -~]*|[2-5]\d\d[ -].*", re.DOTALL)
_LISTENERS: Final = ("none", "implicit", "starttls")
_STRANGER: Final = 128
_MOST_OF_A_LINE: Final = 510
_MOST_OF_A_CHALLENGE: Final = 12288
"""RFC 4954 section 4."""

_MOST_OF_A_SEED: Final = 1024


def seeds() -> list[bytes]:
    """What the clients of all dialogues send."""
    found = []
    for dialogue in load_all():
        listener = _LISTENERS.index(dialogue.settings.get("listener", "implicit"))
        least = 0 if dialogue.logs_in else _STRANGER
        kind = next(one for one in range(least, least + 3) if one % 3 == listener)
        sent = [step.octets for step in dialogue.steps if isinstance(step, Send)]
        found.append(bytes((kind, 7)) + b"".join(sent)[:_MOST_OF_A_SEED])
    return found


def one_input(octets: bytes) -> None:
    """Hold the session whole and cut; both must say and accept the same."""
    if len(octets) < 2:
        return
    kind, cut, stream = octets[0], octets[1] % 31 + 1, octets[2:]
    listener = _LISTENERS[kind % 3]
    settings = {
        "listener": listener,
        "line_ends": "normalise" if kind & 16 else "strict",
        "message_size": "200" if kind & 32 else "off",
        "extensions": "none" if kind & 64 else "all",
        "offers": "FUTURERELEASE, DELIVERBY, MT-PRIORITY, REQUIRETLS, LIMITS",
        "mechanisms": ", ".join(MECHANISMS),
        "log in": "no" if kind & _STRANGER else "yes",
        "recipients": "3",
        "line": "512",
    }
    whole = _converse(settings, stream, len(stream) or 1)
    if listener != "starttls":
        # What stands behind STARTTLS in one segment is refused for that alone.
        assert whole == _converse(settings, stream, cut)


def _converse(
    settings: dict[str, str], stream: bytes, cut: int
) -> tuple[bytes, list[bytes], bool]:
    peer = SessionPeer(make_session(settings), cut)
    if settings["listener"] == "implicit" and settings["log in"] == "yes":
        peer.log_in()
    peer.send(stream)
    said, accepted, closed = peer.said, list(peer.accepted), peer.is_closed
    peer.leave()
    assert not peer.desk.is_open
    assert not peer.session.in_transaction
    _check_said(said)
    _check_contents(peer.desk.events)
    return said, accepted, closed


def _check_said(said: bytes) -> None:
    *lines, rest = said.split(b"\r\n")
    assert rest == b""
    for line in lines:
        assert _LINE.fullmatch(line), line
        is_challenge = line.startswith(b"334 ")
        assert len(line) <= (_MOST_OF_A_CHALLENGE if is_challenge else _MOST_OF_A_LINE)
        assert b"\r" not in line
        assert b"\n" not in line


def _check_contents(events: list[Event]) -> None:
    """What the desk was given, whether it took it or not."""
    content, body = b"", Body.SEVEN_BIT
    for event in events:
        match event:
            case SenderOffered(body=body):
                content = b""
            case ContentArrived(octets):
                content += octets
            case ContentEnded():
                if body is Body.BINARY_MIME:
                    header, empty, _ = (b"\r\n" + content).partition(b"\r\n\r\n")
                    content = (header + empty)[2:]
                _check_content(content)


def _check_content(content: bytes) -> None:
    """Only whole lines, so that no next hop can see an end in it."""
    plain = content.replace(b"\r\n", b"")
    assert b"\r" not in plain
    assert b"\n" not in plain
    assert b"\0" not in plain
    assert not content or content.endswith(b"\r\n")
