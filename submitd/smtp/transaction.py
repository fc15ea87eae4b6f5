"""One transaction as the server sees it: from MAIL to the end of the content."""

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Body, ForwardPath
from submitd.smtp.event import SenderOffered
from submitd.smtp.reception import Content


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
        """None until DATA or the first BDAT was answered with a yes."""

    @property
    def is_binary(self) -> bool:
        """True where its content is under no rule of lines, and comes by BDAT."""
        return self.sender.body is Body.BINARY_MIME

    def __contains__(self, forward_path: ForwardPath) -> bool:
        """True where the mailbox is a recipient already."""
        return forward_path.mailbox in self._mailboxes

    def add(self, forward_path: ForwardPath) -> None:
        """A recipient was accepted."""
        self.forward_paths.append(forward_path)
        self._mailboxes.add(forward_path.mailbox)
