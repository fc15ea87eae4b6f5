"""The reader of dialogues, and that it does not let a departure pass."""

import pytest

from tests.support.dialogue import (
    Accepted,
    Closed,
    Dialogue,
    DialogueError,
    Hear,
    Leave,
    Send,
    StartTls,
    load_all,
    parse,
    run,
)

HEAD = "about: A test.\nrfc: 5321 4.1.1.4, 2920 3.1\n"


class _Echo:
    """A peer that says each line back, and takes lines of mail."""

    def __init__(self) -> None:
        self.said = b""
        self.is_closed = False
        self.accepted: list[bytes] = []
        self.tls = False

    def send(self, octets: bytes) -> None:
        self.said += octets
        self.accepted += [one for one in octets.split(b"\r\n") if b"mail" in one]

    def start_tls(self) -> None:
        self.tls = True

    def leave(self) -> None:
        self.is_closed = True


def _dialogue(steps: str) -> Dialogue:
    return parse("test", f"{HEAD}\n{steps}")


def test_a_script_is_settings_and_steps() -> None:
    dialogue = parse(
        "name",
        f"{HEAD}# a remark\nlog in: no\n\n"
        "C: one\nC> two\\r\\n\\x00\nC* 3 ab\nS: 250 Ok\n# another\n\n"
        "S: 250-…\nM: Hi\\r\\n\nTLS\nC: three\nLEAVES\nCLOSED\n",
    )

    assert dialogue.sections == (("5321", "4.1.1.4"), ("2920", "3.1"))
    assert not dialogue.logs_in
    assert dialogue.steps == (
        Send(b"one\r\ntwo\r\n\0ababab"),
        Hear(b"250 Ok", is_whole=True),
        Hear(b"250-", is_whole=False),
        Accepted(b"Hi\r\n"),
        StartTls(),
        Send(b"three\r\n"),
        Leave(),
        Closed(),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("about: x\n\nC: one", "about and rfc"),
        (f"{HEAD}about: y\n\nC: one", "given twice"),
        (f"{HEAD}nonsense\n\nC: one", "not a setting"),
        (f"{HEAD}\nX: one", "not a step"),
    ],
)
def test_a_script_in_bad_form_is_refused(text: str, why: str) -> None:
    with pytest.raises(DialogueError, match=why):
        parse("name", text)


def test_a_peer_that_keeps_to_the_script_passes() -> None:
    peer = _Echo()

    run(_dialogue("C: mail\nS: mail\nM: mail\nTLS\nLEAVES\nCLOSED"), peer)

    assert peer.tls


@pytest.mark.parametrize(
    "steps",
    [
        "C: one\nS: two",
        "C: one\nS: one\nS: two",
        "C: one\nS: on",
        "C: one\nC: two\nS: one",
        "C: one\nS: one\nS: …",
        "C: one\nS: o…\nCLOSED",
        "C: one",
        "C: one\nS: one\nM: one",
        "C: mail\nS: mail",
        "C: mail\nS: mail\nM: other",
    ],
)
def test_a_peer_that_departs_from_the_script_fails(steps: str) -> None:
    with pytest.raises(AssertionError):
        run(_dialogue(steps), _Echo())


def test_every_script_shows_something_of_its_own() -> None:
    dialogues = load_all()

    assert len(dialogues) >= 150
    assert len({one.steps for one in dialogues}) == len(dialogues)
    assert len({one.settings["about"] for one in dialogues}) == len(dialogues)
