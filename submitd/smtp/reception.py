"""Content on its way in: by DATA up to a dot, or by BDAT in counted chunks."""

from submitd.smtp import reply
from submitd.smtp.framing import BinaryRule, DotReader, InputBuffer, TextRule
from submitd.smtp.reply import Reply


class Content:
    """The content of one transaction: what it must be, and how much there is."""

    __slots__ = ("_limit", "_rule", "_size", "fault")

    def __init__(
        self,
        rule: TextRule | BinaryRule,
        limit: int | None,
        fault: Reply | None = None,
    ) -> None:
        """``limit`` is in octets; with ``fault`` it is refused from the start."""
        self._rule = rule
        self._limit = limit
        self._size = 0
        self.fault = fault
        """Why it cannot be taken. Nothing is passed on from here on."""

    def has_room(self, octets: int) -> bool:
        """True where so many octets more are within the limit."""
        return self._limit is None or self._size + octets <= self._limit

    def feed(self, octets: bytes) -> bytes:
        """What to pass on of ``octets``."""
        if not self.has_room(len(octets)):
            # Whatever else is wrong with it: so that the reply does not
            # depend on how the network cut the content.
            self.fault = reply.TOO_LARGE
        self._size += len(octets)
        return b"" if self.fault else self._passed(self._rule.feed(octets))

    def finish(self) -> bytes:
        """What to pass on behind the last octet."""
        return b"" if self.fault else self._passed(self._rule.finish())

    def _passed(self, octets: bytes | None) -> bytes:
        if octets is None:
            is_text = isinstance(self._rule, TextRule)
            self.fault = reply.BAD_CONTENT if is_text else reply.BAD_HEADER_LINES
            return b""
        return octets


class DataReception:
    """What follows DATA, up to the final dot."""

    __slots__ = ("_dots", "content", "is_complete", "is_last")

    def __init__(self, content: Content) -> None:
        self._dots = DotReader()
        self.content = content
        self.is_complete = False
        self.is_last = True

    def read(self, arrived: InputBuffer) -> bytes | None:
        """What to pass on, perhaps nothing; None: more must arrive first."""
        octets = arrived.take()
        if not octets:
            return None
        plain, rest = self._dots.feed(octets)
        if rest is not None:
            arrived.put_back(rest)
            self.is_complete = True
        return self.content.feed(plain)


class ChunkReception:
    """What follows one BDAT command: so many octets, whatever they are."""

    __slots__ = ("_left", "content", "is_last")

    def __init__(self, octets: int, content: Content, *, is_last: bool) -> None:
        self._left = octets
        self.content = content
        self.is_last = is_last

    @property
    def is_complete(self) -> bool:
        """True where the next octet is a command's."""
        return self._left == 0

    def read(self, arrived: InputBuffer) -> bytes | None:
        """What to pass on, perhaps nothing; None: more must arrive first."""
        octets = arrived.take(self._left)
        if self._left and not octets:
            return None
        self._left -= len(octets)
        passed = self.content.feed(octets)
        if self.is_last and self.is_complete:
            passed += self.content.finish()
        return passed


Reception = DataReception | ChunkReception
