r"""Dialogues with an SMTP server, written down as an RFC would.

A script is settings (``name: value``), an empty line, and steps::

    about: What the client learns here.
    rfc: 5321 4.1.1.4
    listener: implicit

    C: MAIL FROM:<alice@example.org>
    S: 250 2.1.0 Sender accepted

=============  ===============================================================
``C:``         the client sends the line and CR LF
``C>``         it sends exactly this; ``\r``, ``\n``, ``\0``, ``\xHH`` and
               ``\\`` are read
``C*``         ``C* 70 text``: it sends the text (as in ``C>``) so many times
``S:``         the server says this line; ``…`` at its end stands for any rest
``M:``         the server accepts a message of exactly these octets, written
               as in ``C>``; they come in order of acceptance
``TLS``        both ends begin TLS
``LEAVES``     the client is gone
``CLOSED``     the server has closed the connection
``#``          a remark
=============  ===============================================================

Steps of the client that stand together leave in one segment. Before each of
them, and at the end, the server must have said nothing more than the script
says, and at the end have accepted no further message.

Settings: ``about``, ``rfc`` (number and section; more behind commas),
``listener`` (``implicit``, ``starttls``, ``none``), ``log in`` (``no``: begin
with the greeting; otherwise a log-in as alice has gone before), ``cut``
(``no``: what happens depends on the segments, for a reason that is given),
``offers`` (extensions beyond the usual ones, behind commas; the moment is
2026-03-01T12:00:30Z),
``mechanisms`` (instead of PLAIN and LOGIN, behind commas),
and limits and manners of the server by name.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

FOLDER: Final = Path(__file__).parents[1] / "data" / "dialogues"


@frozen
class Send:
    """The client sends this, in one segment where it can."""

    octets: bytes


@frozen
class Hear:
    """The server says a line: this one, or one that begins so."""

    line: bytes
    is_whole: bool

    def matches(self, line: bytes) -> bool:
        return line == self.line if self.is_whole else line.startswith(self.line)


@frozen
class Accepted:
    """The server accepts a message."""

    octets: bytes


@frozen
class StartTls:
    """Both ends begin TLS."""


@frozen
class Leave:
    """The client is gone without a word."""


@frozen
class Closed:
    """The server has closed the connection."""


Step = Send | Hear | Accepted | StartTls | Leave | Closed

_WORDS: Final[Mapping[str, Step]] = {
    "TLS": StartTls(),
    "LEAVES": Leave(),
    "CLOSED": Closed(),
}


@frozen
class Dialogue:
    """One script."""

    name: str
    settings: Mapping[str, str]
    steps: tuple[Step, ...]

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """What it shows: RFC numbers and sections."""
        return tuple(
            (number, section)
            for number, _, section in (
                part.strip().partition(" ") for part in self.settings["rfc"].split(",")
            )
        )

    @property
    def logs_in(self) -> bool:
        """A log-in as alice goes before."""
        return self.settings.get("log in", "yes") == "yes"


class DialogueError(ValueError):
    """The script cannot be read. The message names the line."""


class Peer(Protocol):
    """A server under test, as a script sees it."""

    def send(self, octets: bytes) -> None: ...
    def start_tls(self) -> None: ...
    def leave(self) -> None: ...

    @property
    def said(self) -> bytes:
        """All that the server has said since the connection was made."""

    @property
    def is_closed(self) -> bool:
        """The server closed the connection."""

    @property
    def accepted(self) -> list[bytes]:
        """The messages that were answered with 250, in order."""


def parse(name: str, text: str) -> Dialogue:
    """Read a script.

    Raises:
        DialogueError: it breaks the form that this module describes.
    """
    head, _, body = text.partition("\n\n")
    settings: dict[str, str] = {}
    for line in head.splitlines():
        if line.startswith("#"):
            continue
        setting, colon, value = line.partition(":")
        if not colon or setting.strip() in settings:
            raise DialogueError(f"{name}: not a setting, or given twice: {line}")
        settings[setting.strip()] = value.strip()
    if not {"about", "rfc"} <= settings.keys():
        raise DialogueError(f"{name}: about and rfc must be given")
    steps: list[Step] = []
    for line in body.splitlines():
        step = _parse_step(name, line)
        if step is None:
            continue
        if isinstance(step, Send) and steps and isinstance(steps[-1], Send):
            steps[-1] = Send(steps[-1].octets + step.octets)
        else:
            steps.append(step)
    return Dialogue(name, settings, tuple(steps))


def _parse_step(name: str, line: str) -> Step | None:
    mark, text = line[:2], line[3:]
    if line in _WORDS:
        return _WORDS[line]
    match mark:
        case "C:":
            return Send(text.encode() + b"\r\n")
        case "C>":
            return Send(_octets(text))
        case "C*":
            times, _, text = text.partition(" ")
            return Send(_octets(text) * int(times))
        case "S:":
            whole = text.removesuffix("…")
            return Hear(whole.encode(), is_whole=whole == text)
        case "M:":
            return Accepted(_octets(text))
    if line and not line.startswith("#"):
        raise DialogueError(f"{name}: not a step: {line}")
    return None


def _octets(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def load_all() -> list[Dialogue]:
    """Every script in `FOLDER`, by name."""
    return [
        parse(path.stem, path.read_text("utf-8"))
        for path in sorted(FOLDER.glob("*.smtp"))
    ]


def _at_once(holds: Callable[[], bool]) -> None:
    """Nothing is to be waited for."""


def run(
    dialogue: Dialogue,
    peer: Peer,
    wait: Callable[[Callable[[], bool]], None] = _at_once,
) -> None:
    """Hold the dialogue. An assertion fails where the server departs from it.

    ``peer`` is connected and, where the script wants it, logged in; what it
    said up to then is not in `Peer.said`. ``wait`` is given what will hold soon.
    """
    heard = 0
    accepted = 0
    for step in dialogue.steps:
        match step:
            case Hear():
                wait(lambda heard=heard: b"\r\n" in peer.said[heard:])  # type: ignore[misc]
                line, crlf, _ = peer.said[heard:].partition(b"\r\n")
                assert crlf, f"{dialogue.name}: nothing said, expected {step.line!r}"
                assert step.matches(line), f"{dialogue.name}: {line!r}, not {step}"
                heard += len(line) + 2
            case Accepted():
                wait(lambda known=accepted: len(peer.accepted) > known)  # type: ignore[misc]
                assert peer.accepted[accepted : accepted + 1] == [step.octets]
                accepted += 1
            case Closed():
                wait(lambda: peer.is_closed)
                assert peer.is_closed, f"{dialogue.name}: still open"
            case Send():
                assert peer.said[heard:] == b"", dialogue.name
                peer.send(step.octets)
            case StartTls():
                peer.start_tls()
            case Leave():
                peer.leave()
    assert peer.said[heard:] == b"", dialogue.name
    assert peer.accepted[accepted:] == [], dialogue.name
