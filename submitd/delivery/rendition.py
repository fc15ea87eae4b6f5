"""Other forms of messages: made once, signed anew, kept in the spool beside them."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from submitd.dkim.sign import Signer
from submitd.mail.message import Field, HeaderSection
from submitd.mail.mime import CannotConvert
from submitd.mail.rendition import Change, Rewriting, Survey, Target
from submitd.observe.events import RENDITION_MADE, Events
from submitd.smtp.framing import LineEnds, TextRule
from submitd.spool.store import (
    CHUNK,
    NoRendition,
    Rendition,
    RenditionIntake,
    Spool,
    Spooled,
)

_SLICE: Final = 64 * 1024
"""Octets that a thread converts at one go: the event loop comes between."""

_DOMAIN: Final = re.compile(rb"(?:^|;)\s*d\s*=\s*([^\s;]+)")
_SELECTOR: Final = re.compile(rb"(?:^|;)\s*s\s*=\s*([^\s;]+)")

P = ParamSpec("P")
T = TypeVar("T")

SignerOf = Callable[[Spooled, HeaderSection], Signer | None]
"""Who signs a message with that header section; None: nobody. Asked in threads."""


class Renditions:
    """Makes them, and finds what was made."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        spool: Spool,
        signer_of: SignerOf,
        events: Events,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reactor = reactor
        self._spool = spool
        self._signer_of = signer_of
        self._events = events
        self._now = now

    async def find(
        self, spooled: Spooled, target: Target
    ) -> Rendition | NoRendition | None:
        """The form of a message for hosts that take no more than ``target``.

        None: nobody has tried to `make` it.

        Raises:
            SpoolUnavailable: nobody can tell.
        """
        return await self._spool.find_rendition(spooled.queue_id, target.value)

    async def make(self, spooled: Spooled, target: Target) -> None:
        """Make the form of a claimed message, or find out that there is none.

        Either is done once, whoever asks again.

        Raises:
            SpoolUnavailable, LookupError: it cannot be read or stored now.
        """
        if await self.find(spooled, target) is not None:
            return
        queue_id, form = spooled.queue_id, target.value
        try:
            made = await self._make(spooled, target)
        except CannotConvert as problem:
            await self._spool.refuse_rendition(queue_id, form, str(problem))
            return
        self._events.emit(
            RENDITION_MADE,
            session=spooled.session,
            queue_id=queue_id,
            form=form,
            size=made.size,
        )

    async def _make(self, spooled: Spooled, target: Target) -> Rendition:
        header = spooled.header
        if header is None:
            header = await self._spool.read_header(spooled.queue_id)
        smtputf8 = spooled.needs.smtputf8
        survey = await self._in_thread(Survey, target, header, smtputf8=smtputf8)
        async for octets in self._body(spooled):
            await self._in_thread(survey.feed, octets)
        changes = await self._in_thread(survey.finish)
        signer_of = partial(self._signer_of, spooled)
        draft = await self._in_thread(_Draft, changes, header, target, signer_of)
        intake = self._spool.open_rendition(spooled.queue_id, target.value)
        try:
            async for octets in self._body(spooled):
                draft.tail += await self._in_thread(draft.convert, octets)
                await _store(draft, intake)
            draft.tail += await self._in_thread(draft.finish)
            await _store(draft, intake)
            header = await self._in_thread(draft.header, self._now())
            return await intake.finish(header, draft.tail)
        except BaseException:
            await intake.abandon()
            raise

    async def _body(self, spooled: Spooled) -> AsyncIterator[bytes]:
        """The body in slices."""
        number = 0
        while (chunk := await self._chunk(spooled, number)) is not None:
            for start in range(0, len(chunk), _SLICE):
                yield chunk[start : start + _SLICE]
            number += 1

    async def _chunk(self, spooled: Spooled, number: int) -> bytes | None:
        if spooled.body is None:
            return await self._spool.read_chunk(spooled.queue_id, number)
        return spooled.body[number] if number < len(spooled.body) else None

    def _in_thread(
        self, work: Callable[P, T], *args: P.args, **more: P.kwargs
    ) -> Deferred[T]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, work, *args, **more)


class _Draft:
    """A rendition in the making."""

    def __init__(
        self,
        changes: Mapping[int, Change],
        header: bytes,
        target: Target,
        signer_of: Callable[[HeaderSection], Signer | None],
    ) -> None:
        section = HeaderSection.parse(header)
        signer = signer_of(section)
        section = _unsigned(section, signer)
        self._rewriting = Rewriting(changes, section.octets + b"\r\n")
        self._is_ascii = target is Target.SEVEN_BIT
        self._rule = TextRule(LineEnds.STRICT)
        self._signer = signer
        self._hasher = signer.body_hasher() if signer is not None else None
        self.tail = b""
        """What is not stored yet."""

    def convert(self, octets: bytes) -> bytes:
        """The other form of the next octets of the body."""
        return self._checked(self._rewriting.feed(octets))

    def finish(self) -> bytes:
        """What is left of it."""
        last = self._checked(self._rewriting.finish())
        if self._rule.finish() != b"":
            raise CannotConvert("its other form would not be text")
        return last

    def _checked(self, octets: bytes) -> bytes:
        """What goes to others by DATA is text, whatever we were made to read.

        A final dot in it would let a sender say the next message's envelope.
        """
        held_to = self._rule.feed(octets)
        if held_to is None or (self._is_ascii and not octets.isascii()):
            raise CannotConvert("its other form would not be text")
        if self._hasher is not None:
            self._hasher.update(octets)
        return octets

    def header(self, at: datetime) -> bytes:
        """Its header section with the empty line, signed anew."""
        fields = HeaderSection.parse(self._rewriting.header).fields
        signatures = b""
        if self._signer is not None and self._hasher is not None:
            signatures = self._signer.sign(
                [one.raw for one in fields], self._hasher.digest(), at
            )
        above = _trace(fields)
        rest = fields[len(above) :]
        return b"".join(
            [
                *(one.raw for one in above),
                signatures,
                *(one.raw for one in rest),
                b"\r\n",
            ]
        )


async def _store(draft: _Draft, intake: RenditionIntake) -> None:
    while len(draft.tail) > CHUNK:
        chunk, draft.tail = draft.tail[:CHUNK], draft.tail[CHUNK:]
        await intake.write(chunk)


def _trace(fields: Sequence[Field]) -> Sequence[Field]:
    """Our Received field, which stands above our signatures; a report has none."""
    return fields[:1] if fields and fields[0].key == "received" else ()


def _unsigned(section: HeaderSection, signer: Signer | None) -> HeaderSection:
    """Without the signatures of ours, which are for the first form.

    They stand together below our Received field. What was signed under the same
    domain with another key may be the sender's own, and hold.
    """
    if signer is None:
        return section
    above = _trace(section.fields)
    rest = list(section.fields[len(above) :])
    while rest and _is_by(rest[0], signer):
        del rest[0]
    return HeaderSection((*above, *rest))


def _is_by(one: Field, signer: Signer) -> bool:
    if one.key != "dkim-signature":
        return False
    value = one.value
    return _tag(_DOMAIN, value) == signer.domain and any(
        _tag(_SELECTOR, value) == each.selector for each in signer.keys
    )


def _tag(pattern: re.Pattern[bytes], value: bytes) -> str:
    found = pattern.search(value)
    return "" if found is None else found[1].decode("ascii", "replace")
