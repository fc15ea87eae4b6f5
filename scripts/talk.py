"""A session on a terminal, without a network: type SMTP, see the events.

Whatever the session asks is granted, but the password "wrong".
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from submitd.mail.status import EnhancedCode
from submitd.sasl.login import Login
from submitd.sasl.plain import Plain
from submitd.smtp import reply
from submitd.smtp.event import (
    ContentEnded,
    ContentOffered,
    Event,
    PasswordOffered,
    RecipientOffered,
    SenderOffered,
)
from submitd.smtp.reply import Reply
from submitd.smtp.server import ServerSession, SessionLimits, TlsManner

LOGGED_IN: Final = Reply(235, EnhancedCode(2, 7, 0), "Logged in")
GO_AHEAD: Final = Reply(354, None, "Go ahead, and end with a line of one dot")


def answer_to(event: Event) -> Reply | None:
    """Yes, wherever there is a question."""
    match event:
        case PasswordOffered(password="wrong"):
            return reply.BAD_CREDENTIALS
        case PasswordOffered():
            return LOGGED_IN
        case ContentOffered():
            return GO_AHEAD
        case SenderOffered() | RecipientOffered() | ContentEnded():
            return reply.OK
        case _:
            return None


def talk(session: ServerSession, lines: Iterable[str]) -> Iterator[str]:
    """What there is to see, as the client types line after line."""
    session.greet()
    yield from _said(session)
    for line in lines:
        session.receive_data(line.rstrip("\n").encode() + b"\r\n")
        while (event := session.next_event()) is not None:
            yield f"    {event}"
            session.answer(answer_to(event))
        yield from _said(session)
        if session.is_closing:
            return


def _said(session: ServerSession) -> list[str]:
    return [f"S: {line}" for line in session.data_to_send().decode().splitlines()]


def main() -> None:
    """Talk until the session closes or the input ends."""
    session = ServerSession(
        "submit.example.org",
        TlsManner.STARTTLS,
        SessionLimits(),
        mechanisms=(Plain(), Login()),
    )
    for line in talk(session, sys.stdin):
        print(line, flush=True)


if __name__ == "__main__":
    main()
