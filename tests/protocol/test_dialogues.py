"""Every dialogue in tests/data/dialogues, against the session alone."""

import pytest
from _pytest.mark.structures import ParameterSet

from tests.support.dialogue import Dialogue, load_all, run
from tests.support.session_peer import SessionPeer, make_session


def _as_case(dialogue: Dialogue) -> ParameterSet:
    marks = [pytest.mark.rfc(*one) for one in dialogue.sections]
    return pytest.param(dialogue, id=dialogue.name, marks=marks)


def _peer(dialogue: Dialogue, cut: int) -> SessionPeer:
    peer = SessionPeer(make_session(dialogue.settings), cut)
    if dialogue.logs_in:
        peer.log_in()
    return peer


@pytest.mark.parametrize("dialogue", [_as_case(one) for one in load_all()])
def test_the_session_keeps_to_the_script(dialogue: Dialogue) -> None:
    """And every transaction that was begun has ended when the client is gone."""
    peer = _peer(dialogue, 1 << 20)

    run(dialogue, peer)

    peer.leave()
    assert not peer.desk.is_open
    assert not peer.session.in_transaction


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "dialogue",
    [_as_case(one) for one in load_all() if one.settings.get("cut") != "no"],
)
def test_segments_of_few_octets_change_no_reply(dialogue: Dialogue, cut: int) -> None:
    """TCP keeps no boundaries, so no reply may depend on them."""
    run(dialogue, _peer(dialogue, cut))
