"""In which form a message goes to a host: as it is, or in one that asks for less."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from submitd.mail.envelope import Body
from submitd.mail.rendition import Target
from submitd.spool.store import Recipient, Rendition, Spool, Spooled


@frozen
class Form:
    """What is sent, and what MAIL says of it."""

    content_id: str
    """What the spool knows it by."""

    size: int
    body: Body


def as_it_is(spooled: Spooled) -> Form:
    """The message as it was accepted."""
    body = spooled.envelope.body
    if spooled.needs.binary:
        body = Body.BINARY_MIME
    elif spooled.needs.eight_bit:
        body = Body.EIGHT_BIT_MIME
    return Form(spooled.queue_id, spooled.size, body)


def as_rendition(rendition: Rendition, target: Target) -> Form:
    """What was made for hosts that take less."""
    is_seven_bit = target is Target.SEVEN_BIT
    body = Body.SEVEN_BIT if is_seven_bit else Body.EIGHT_BIT_MIME
    return Form(rendition.content_id, rendition.size, body)


def target_of(spooled: Spooled, offered: Mapping[str, str]) -> Target | None:
    """What the host takes at most; None: the message as it is.

    Binary content goes as it is by BDAT alone (RFC 3030 section 3): by DATA its
    octets could end the message, and be the envelope of another one.
    """
    needs = spooled.needs
    if needs.binary and {"CHUNKING", "BINARYMIME"} <= offered.keys():
        return None
    if "8BITMIME" in offered:
        return Target.EIGHT_BIT if needs.binary else None
    return Target.SEVEN_BIT if needs.binary or needs.eight_bit else None


class FormContent:
    """Its octets: at hand, or from the spool, chunk by chunk (`Content`)."""

    def __init__(
        self,
        spool: Spool,
        spooled: Spooled,
        form: Form,
        recipients: Sequence[Recipient],
    ) -> None:
        self._spool = spool
        self._spooled = spooled
        self._form = form
        self._recipients = recipients
        self._number = -1
        is_at_hand = form.content_id == spooled.queue_id
        self._header = spooled.header if is_at_hand else None
        self.small: bytes | None = None
        if self._header is not None and spooled.body is not None:
            self.small = b"".join((self._header, *spooled.body))

    def ending(self, accepted: Sequence[int]) -> None:
        """As `Content.ending`."""
        numbers = [self._recipients[place].number for place in accepted]
        self._spool.mark_sent(self._spooled.queue_id, numbers)

    async def next(self) -> bytes | None:
        """The next piece; None at the end. Raises as `Spool.read_chunk`."""
        number, self._number = self._number, self._number + 1
        if number < 0:
            if self._header is not None:
                return self._header
            return await self._spool.read_header(self._form.content_id)
        return await self._spool.read_chunk(self._form.content_id, number)
