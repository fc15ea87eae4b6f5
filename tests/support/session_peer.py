"""A server session without a carrier, and someone to answer its questions."""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from submitd.mail.status import EnhancedCode
from submitd.sasl.mechanism import Certificate, Digest, KeysProof, Token
from submitd.sasl.scram_keys import make_keys
from submitd.smtp import extension
from submitd.smtp.conversation import Answer
from submitd.smtp.event import (
    ContentArrived,
    ContentEnded,
    ContentOffered,
    Event,
    KeysFound,
    KeysWanted,
    PasswordOffered,
    ProofOffered,
    RecipientOffered,
    SenderOffered,
    TlsWanted,
    TransactionAborted,
)
from submitd.smtp.extension import Extension
from submitd.smtp.framing import LineEnds
from submitd.smtp.reply import BRAKED, Reply, priority_assigned
from submitd.smtp.server import ServerSession, SessionLimits, TlsManner
from tests.support.mechanisms import PENCIL, SALT, named_all

HOSTNAME: Final = "submit.example.org"


def reply(code: int, subject: int, detail: int, text: str) -> Reply:
    return Reply(code, EnhancedCode(code // 100, subject, detail), text)


LOGGED_IN: Final = reply(235, 7, 0, "Logged in")
LOG_IN_REFUSED: Final = reply(535, 7, 8, "User name or password not accepted")
CANNOT_TELL: Final = reply(454, 7, 0, "Cannot check passwords now")
OVER_LIMIT: Final = reply(
    451,
    7,
    1,
    "The limit is 2 messages an hour (2 used); possible again in 12 min",
)
TOO_MUCH_WAITS: Final = reply(
    552, 7, 16, "Too much of your mail waits for later: 200 messages, 900 kB"
)
SENDER_OK: Final = reply(250, 1, 0, "Sender accepted")
RECIPIENT_OK: Final = reply(250, 1, 5, "Recipient accepted")
SEND_IT: Final = Reply(354, None, "Send it")
QUEUED: Final = reply(250, 0, 0, "Queued")


class StandInDesk:
    """Answers as a desk would: by what the question holds, and always at once.

    alice's password is ``secret``; what is named ``…@refused.example`` is
    refused, ``…@full.example`` not now, ``…@closing.example`` with 421. A
    recipient at ``nodata.example`` makes the content unwelcome, one at
    ``overlimit.example`` passes a limit, and content that holds the words
    ``refuseme`` or ``overlimit`` is refused in the end. No priority may be
    above 3. ``user`` and
    ``locked`` have the password ``pencil``, for SCRAM; the account of the latter
    is locked.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.accepted: list[bytes] = []
        self.is_open = False
        self._content = b""

    def answer(self, event: Event) -> Answer:
        self.events.append(event)
        match event:
            case PasswordOffered() | KeysWanted() | ProofOffered():
                return self._log_in(event)
            case SenderOffered():
                return self._begin(event)
            case RecipientOffered(forward_path):
                assert self.is_open
                return _by_domain(forward_path.mailbox.domain, RECIPIENT_OK)
            case ContentOffered(forward_paths=forward_paths):
                assert self.is_open
                domains = {one.mailbox.domain for one in forward_paths}
                if "nodata.example" in domains:
                    return reply(451, 3, 0, "No content now")
                if "overlimit.example" in domains:
                    return OVER_LIMIT
                return SEND_IT
            case ContentArrived(octets):
                assert self.is_open
                assert octets, "an event about nothing"
                self._content += octets
            case ContentEnded():
                return self._finish()
            case TransactionAborted():
                assert self.is_open, "nothing to abort"
                self.is_open = False
        return None

    def _begin(self, offered: SenderOffered) -> Reply:
        assert not self.is_open, "a transaction within another"
        reverse_path = offered.reverse_path
        verdict = _by_domain(reverse_path.domain if reverse_path else "", SENDER_OK)
        self.is_open = verdict.is_positive
        self._content = b""
        if self.is_open and offered.release_at and "+full" in str(reverse_path):
            self.is_open = False
            return TOO_MUCH_WAITS
        if self.is_open and offered.priority > 3:
            return priority_assigned(3)
        return verdict

    def _finish(self) -> Reply:
        assert self.is_open
        if b"refuseme" in self._content:
            return reply(550, 7, 1, "Not this content")
        if b"overlimit" in self._content:
            return OVER_LIMIT
        self.is_open = False
        self.accepted.append(self._content)
        return QUEUED

    def _log_in(self, offered: PasswordOffered | KeysWanted | ProofOffered) -> Answer:
        if isinstance(offered, ProofOffered):
            return _judge(offered.proof)
        if offered.authcid == "nobody-knows":
            return CANNOT_TELL
        if offered.authcid == "guessed-at":
            return BRAKED
        if isinstance(offered, KeysWanted):
            is_known = offered.authcid in ("user", "locked")
            return KeysFound(PENCIL if is_known else make_keys("?", SALT, 4096))
        proved = (offered.authcid, offered.password) == ("alice", "secret")
        return LOGGED_IN if proved else LOG_IN_REFUSED


def _judge(proof: object) -> Reply:
    proved = False
    match proof:
        case KeysProof(authcid, authzid, fault):
            proved = authcid == "user" and authzid in ("", "user") and not fault
        case Token(token="issuer-is-down"):
            return CANNOT_TELL
        case Token(authzid, token):
            proved = token == "good.token" and authzid in ("", "alice")
        case Certificate(authzid):
            proved = authzid in ("", "alice")
        case Digest(authcid, challenge, digest):
            made = hmac.new(b"tanstaaftanstaaf", challenge, "md5").hexdigest()
            proved = (authcid, digest) == ("tim", made)
    return LOGGED_IN if proved else LOG_IN_REFUSED


def _by_domain(domain: str, verdict: Reply) -> Reply:
    return {
        "refused.example": reply(550, 7, 1, "Refused"),
        "full.example": reply(452, 3, 1, "Not now"),
        "closing.example": reply(421, 3, 2, "Shutting down"),
    }.get(domain, verdict)


NOW: Final = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
"""What the extensions take for the moment."""

_OFFERS: Final = {
    "LIMITS": extension.LIMITS,
    "REQUIRETLS": extension.REQUIRETLS,
    "FUTURERELEASE": extension.future_release(timedelta(days=1), lambda: NOW),
    "DELIVERBY": extension.deliver_by(timedelta(seconds=30), lambda: NOW),
    "MT-PRIORITY": extension.MT_PRIORITY,
}
"""Made once, as by a server: what it knows of them it keeps for good."""


def _extensions(settings: Mapping[str, str]) -> list[Extension]:
    """Those that are always tried, and what ``offers`` names, behind commas."""
    if settings.get("extensions") == "none":
        return []
    named = settings.get("offers", "").split(", ")
    return [*extension.OPTIONAL, *(_OFFERS[one] for one in named if one)]


def make_session(settings: Mapping[str, str]) -> ServerSession:
    """A session as a dialogue's settings want it."""
    manner = TlsManner[settings.get("listener", "implicit").upper()]
    numbers: dict[str, Any] = {
        name: None if settings[name] == "off" else int(settings[name])
        for name in (
            *("message_size", "recipients", "line"),
            *("bad_commands", "failed_log_ins"),
        )
        if name in settings
    }
    return ServerSession(
        HOSTNAME,
        manner,
        SessionLimits(**numbers),
        _extensions(settings),
        named_all(settings.get("mechanisms", "PLAIN, LOGIN")),
        LineEnds[settings.get("line_ends", "strict").upper()],
    )


class SessionPeer:
    """A session and its desk, for a dialogue to talk to."""

    def __init__(self, session: ServerSession, cut: int = 1 << 30) -> None:
        """``cut``: at most so many octets arrive at once."""
        self.session = session
        self.desk = StandInDesk()
        self._cut = cut
        self._said = b""
        self._tls_wanted = False
        session.greet()
        self._pump()

    def log_in(self) -> None:
        """Say EHLO, log in as alice, and forget what was said."""
        self.send(b"EHLO client.example.org\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        assert self._said.endswith(LOGGED_IN.encode())
        self._said = b""
        self.desk.events.clear()

    @property
    def said(self) -> bytes:
        return self._said

    @property
    def is_closed(self) -> bool:
        return self.session.is_closing

    @property
    def accepted(self) -> list[bytes]:
        return self.desk.accepted

    def send(self, octets: bytes) -> None:
        for start in range(0, len(octets), self._cut):
            self.session.receive_data(octets[start : start + self._cut])
            self._pump()

    def start_tls(self) -> None:
        assert self._tls_wanted, "the session did not ask for TLS"
        self._tls_wanted = False

    def leave(self) -> None:
        self.session.connection_lost()
        self._pump()

    def _pump(self) -> None:
        session = self.session
        while (event := session.next_event()) is not None:
            self._tls_wanted = self._tls_wanted or isinstance(event, TlsWanted)
            session.answer(self.desk.answer(event))
        self._said += session.data_to_send()
