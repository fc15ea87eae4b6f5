"""One transaction as the server sees it: from MAIL to the end of the content."""

from submitd.mail.address import Mailbox
from submitd.mail.envelope import ForwardPath
from submitd.smtp import reply
from submitd.smtp.event import SenderOffered
from submitd.smtp.framing import LineEnds, TextRule
from submitd.smtp.reply import Reply


class Content:
    """The content while it comes: what it must be, and how much there is."""

    __slots__ = ("_limit", "_rule", "_size", "fault")

    def __init__(self, line_ends: LineEnds, limit: int | None) -> None:
        self._rule = TextRule(line_ends)
        self._limit = limit
        self._size = 0
        self.fault: Reply | None = None
        """Why the content cannot be taken. Nothing is passed on after it."""

    def has_room(self, size: int) -> bool:
        """True where ``size`` octets more are within the limit."""
        return self._limit is None or self._size + size <= self._limit

    def feed(self, octets: bytes) -> bytes:
        """What to pass on of ``octets``."""
        if not self.has_room(len(octets)):
            # Whatever else is wrong: so the reply does not depend on how the
            # network cut the content.
            self.fault = reply.TOO_LARGE
        self._size += len(octets)
        return b"" if self.fault else self._passed(self._rule.feed(octets))

    def finish(self) -> bytes:
        """What to pass on behind the last octet."""
        return self._passed(self._rule.finish())

    def _passed(self, octets: bytes | None) -> bytes:
        if octets is None:
            self.fault = reply.BAD_CONTENT
            return b""
        return octets


class Transaction:
    """What was accepted so far."""

    __slots__ = ("_mailboxes", "content", "forward_paths", "sender", "was_refused")

    def __init__(self, sender: SenderOffered) -> None:
        self.sender = sender
        self.forward_paths: list[ForwardPath] = []
        self._mailboxes: set[Mailbox] = set()
        self.was_refused = False
        """A recipient was refused."""

        self.content: Content | None = None
        """None before DATA or BDAT was answered with a yes."""

    def __contains__(self, forward_path: ForwardPath) -> bool:
        """True where the mailbox is a recipient already."""
        return forward_path.mailbox in self._mailboxes

    def add(self, forward_path: ForwardPath) -> None:
        """A recipient was accepted."""
        self.forward_paths.append(forward_path)
        self._mailboxes.add(forward_path.mailbox)
