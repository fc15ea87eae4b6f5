"""Renditions as delivery asks for them, on a spool of their own."""

from pathlib import Path
from typing import Any, Final

import pytest
from attrs import evolve
from twisted.internet import reactor

from submitd.delivery.courier import Courier, FormWanted, Hop
from submitd.delivery.form import Form
from submitd.delivery.outcome import Delayed, Failed
from submitd.delivery.rendition import Renditions
from submitd.dkim.key import Algorithm, PrivateKey, record_value
from submitd.dkim.sign import Signer, SigningKey
from submitd.mail.envelope import Body
from submitd.mail.rendition import Survey, Target
from submitd.spool.store import (
    CHUNK,
    Needs,
    NoRendition,
    Rendition,
    Spooled,
    SpoolFull,
    SpoolUnavailable,
)
from tests.support.dkim_verifier import verify
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents
from tests.support.spooling import Spooling

KEY: Final = PrivateKey.generate(Algorithm.ED25519_SHA256)
SIGNER: Final = Signer(domain="example.org", keys=(SigningKey("one", KEY),))
RECORDS: Final = {"one._domainkey.example.org": record_value(KEY)}

RECEIVED: Final = b"Received: by us;\r\n today\r\n"
OURS: Final = b"DKIM-Signature: v=1; a=x;\r\n\td=example.org; s=one; b=x\r\n"
OWN: Final = b"DKIM-Signature: v=1; d=example.org; s=mine; b=x\r\n"
THEIRS: Final = b"DKIM-Signature: v=1; d=example.com; b=x\r\n"
FIELDS: Final = (
    b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n"
)
ENCODED: Final = FIELDS + b"Content-Transfer-Encoding: base64\r\n"


def make(s: Spooling, signer: Signer | None = SIGNER) -> Renditions:
    return Renditions(reactor, s.spool, lambda *_: signer, RecordedEvents())


async def made_of(
    s: Spooling, spooled: Spooled, target: Target, signer: Signer | None = SIGNER
) -> Rendition:
    renditions = make(s, signer)
    await renditions.make(spooled, target)
    made = await renditions.find(spooled, target)
    assert isinstance(made, Rendition)
    return made


async def whole(s: Spooling, made: Rendition) -> bytes:
    header = await s.spool.read_header(made.content_id)
    octets = header + await s.body(made.content_id)
    assert made.size == len(octets)
    return octets


@pytest.mark.rfc("6376", "5.1")
@pytest.mark.parametrize(
    ("header", "above", "below"),
    [
        (RECEIVED + OURS + OURS + FIELDS, RECEIVED, ENCODED),
        (RECEIVED + OURS + THEIRS + OURS + FIELDS, RECEIVED, THEIRS + OURS + ENCODED),
        (OURS + FIELDS, b"", ENCODED),
        (RECEIVED + OURS + OWN + FIELDS, RECEIVED, OWN + ENCODED),
        (RECEIVED + b"DKIM-Signature: x\r\n", RECEIVED, b"DKIM-Signature: x\r\n"),
    ],
)
@in_reactor
async def test_our_signatures_make_room_for_new_ones(
    tmp_path: Path, header: bytes, above: bytes, below: bytes
) -> None:
    """What others have signed is left: it may be told apart by who reads it."""
    async with Spooling(tmp_path) as s:
        if b"From" not in header:
            header, below = header + FIELDS, below + ENCODED
        spooled = await s.accept(header=header + b"\r\n", body=b"\xff\0")
        message = await whole(s, await made_of(s, spooled, Target.SEVEN_BIT))
        assert message.startswith(above + b"DKIM-Signature: v=1; a=ed25519")
        assert message.endswith(b"\r\n" + below + b"\r\n/wA=\r\n")
        assert verify(message, RECORDS)


@in_reactor
async def test_without_a_signer_no_field_goes_and_none_comes(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        header = RECEIVED + OURS + FIELDS + b"\r\n"
        spooled = await s.accept(header=header, body=b"\0")
        message = await whole(s, await made_of(s, spooled, Target.EIGHT_BIT, None))
        assert message == RECEIVED + OURS + ENCODED + b"\r\nAA==\r\n"


@pytest.mark.parametrize("in_memory", [True, False])
@in_reactor
async def test_it_is_made_once_in_chunks_from_memory_or_the_spool(
    tmp_path: Path, in_memory: bool
) -> None:
    octets = bytes(range(256)) * 1024
    body = octets if in_memory else octets * 3
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(header=FIELDS + b"\r\n", body=body)
        if not in_memory:
            spooled = evolve(spooled, header=None, body=None)
        renditions = make(s)
        assert await renditions.find(spooled, Target.SEVEN_BIT) is None
        await renditions.make(spooled, Target.SEVEN_BIT)
        first = await renditions.find(spooled, Target.SEVEN_BIT)
        assert isinstance(first, Rendition)
        await renditions.make(spooled, Target.SEVEN_BIT)
        assert await renditions.find(spooled, Target.SEVEN_BIT) == first
        assert len(await s.spool.read_chunk(first.content_id, 0) or b"") == CHUNK
        message = await whole(s, first)
        assert verify(message, RECORDS)
        assert len(message) > len(body) * 4 / 3
        events: Any = renditions._events
        assert events.names == ["rendition-made"]


@in_reactor
async def test_what_has_no_other_form_is_read_once_and_leaves_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Spooling(tmp_path) as s:
        header = b"From: a@b\r\nContent-Type: text\r\n\r\n"
        spooled = await s.accept(header=header, body=b"\0")
        renditions = make(s)
        await renditions.make(spooled, Target.SEVEN_BIT)
        found = await renditions.find(spooled, Target.SEVEN_BIT)
        assert found == NoRendition("the form of a part is not certain")
        assert await renditions.find(spooled, Target.EIGHT_BIT) is None
        events: Any = renditions._events
        assert events.names == []
        monkeypatch.delattr(Survey, "feed")
        await renditions.make(spooled, Target.SEVEN_BIT)
        assert await renditions.find(spooled, Target.SEVEN_BIT) == found


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (b"x\n.\r\n", Target.EIGHT_BIT),
        (b"\xff\r\n", Target.SEVEN_BIT),
        (b"x\r", Target.EIGHT_BIT),
    ],
)
@in_reactor
async def test_nothing_but_text_gets_out_whatever_was_surveyed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    target: Target,
) -> None:
    """Octets that could end a message at the next host never reach it by DATA."""
    monkeypatch.setattr(Survey, "finish", lambda _: {})
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(header=FIELDS + b"\r\n", body=body)
        renditions = make(s)
        await renditions.make(spooled, target)
        found = await renditions.find(spooled, target)
        assert found == NoRendition("its other form would not be text")


class Offering:
    """A connection that offers something."""

    def __init__(self, *offered: str) -> None:
        self.offered = dict.fromkeys(offered, "")


class Given:
    """Renditions that come to what is given."""

    def __init__(self, what: Rendition | NoRendition | Exception | None) -> None:
        self._what = what
        self.targets: list[Target] = []

    async def find(
        self,
        spooled: Spooled,  # noqa: ARG002
        target: Target,
    ) -> Rendition | NoRendition | None:
        self.targets.append(target)
        if isinstance(self._what, Exception):
            raise self._what
        return self._what

    async def make(self, spooled: Spooled, target: Target) -> None:
        await self.find(spooled, target)


def courier_with(given: Given) -> Courier:
    nothing: Any = None
    renditions: Any = given
    return Courier(nothing, nothing, nothing, renditions, *[nothing] * 3)


async def form_of(
    spooled: Spooled, given: Given, *offered: str
) -> Form | Delayed | Failed:
    connection: Any = Offering(*offered)
    hop = Hop(connection, "mx.example")
    return await courier_with(given)._form(hop, spooled, spooled.recipients)


@pytest.mark.rfc("3030", "3")
@pytest.mark.parametrize(
    ("needs", "declared", "offered", "target", "body"),
    [
        (Needs(), Body.SEVEN_BIT, "", None, Body.SEVEN_BIT),
        (Needs(), Body.EIGHT_BIT_MIME, "", None, Body.EIGHT_BIT_MIME),
        (Needs(eight_bit=True), Body.SEVEN_BIT, "8BITMIME", None, Body.EIGHT_BIT_MIME),
        (Needs(eight_bit=True), Body.SEVEN_BIT, "", Target.SEVEN_BIT, Body.SEVEN_BIT),
        (
            Needs(binary=True),
            Body.BINARY_MIME,
            "CHUNKING BINARYMIME",
            None,
            Body.BINARY_MIME,
        ),
        (
            Needs(binary=True),
            Body.BINARY_MIME,
            "8BITMIME CHUNKING",
            Target.EIGHT_BIT,
            Body.EIGHT_BIT_MIME,
        ),
        (
            # Whatever its octets are.
            Needs(binary=True),
            Body.BINARY_MIME,
            "BINARYMIME",
            Target.SEVEN_BIT,
            Body.SEVEN_BIT,
        ),
    ],
)
@in_reactor
async def test_a_host_gets_what_it_takes(
    tmp_path: Path,
    needs: Needs,
    declared: Body,
    offered: str,
    target: Target | None,
    body: Body,
) -> None:
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(needs=needs)
        spooled = evolve(spooled, envelope=evolve(spooled.envelope, body=declared))
        given = Given(Rendition("other", 7))
        form = await form_of(spooled, given, *offered.split())
        own = Form(spooled.queue_id, spooled.size, body)
        assert form == (own if target is None else Form("other", 7, body))
        assert given.targets == ([] if target is None else [target])


@in_reactor
async def test_what_has_no_other_form_fails(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(needs=Needs(binary=True))
        form = await form_of(spooled, Given(NoRendition("signed")))
        assert isinstance(form, Failed)
        assert str(form.status) == "5.6.3"
        assert form.diagnostic.endswith("has no such form: signed")


@in_reactor
async def test_a_report_that_has_no_other_form_goes_as_it_is(tmp_path: Path) -> None:
    """With some octets cut to seven bits it is better than none."""
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(needs=Needs(eight_bit=True), reverse_path=None)
        form = await form_of(spooled, Given(NoRendition("signed")))
        assert form == Form(spooled.queue_id, spooled.size, Body.EIGHT_BIT_MIME)


@in_reactor
async def test_what_is_not_made_yet_is_asked_for(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(needs=Needs(binary=True))
        with pytest.raises(FormWanted) as wanted:
            await form_of(spooled, Given(None), "8BITMIME")
        assert wanted.value.target is Target.EIGHT_BIT
        given = Given(None)
        assert await courier_with(given).prepare(spooled, Target.EIGHT_BIT) is None
        assert given.targets == [Target.EIGHT_BIT]


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (SpoolFull("the reserve"), "4.3.1"),
        (SpoolUnavailable("the disk"), "4.3.0"),
        (LookupError("gone"), "4.3.0"),
    ],
)
@in_reactor
async def test_what_cannot_be_made_or_found_now_waits(
    tmp_path: Path, problem: Exception, status: str
) -> None:
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(needs=Needs(binary=True))
        courier = courier_with(Given(problem))
        trouble = await courier.prepare(spooled, Target.SEVEN_BIT)
        assert trouble is not None
        assert (str(trouble.status), trouble.host) == (status, "")
        assert str(problem) in trouble.diagnostic
        unreadable = await form_of(spooled, Given(SpoolUnavailable("the disk")))
        assert isinstance(unreadable, Delayed)
        assert str(unreadable.status) == "4.3.0"


@in_reactor
async def test_a_full_disk_delays_what_needs_another_form(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        spooled = await s.accept(header=FIELDS + b"\r\n", body=b"\0" * 400_000)
        committer: Any = s.spool._committer
        committer._reserve._size = 1 << 60
        with pytest.raises(SpoolFull):
            await make(s).make(spooled, Target.SEVEN_BIT)
        committer._reserve._size = 0
        assert (await made_of(s, spooled, Target.SEVEN_BIT)).size > 400_000
