"""What a server session asks of the world, and tells it.

Every event is answered exactly once, with `ServerSession.answer`: a question
with a `Reply` (`KeysWanted` with `KeysFound`, too), a piece of news
(`ContentArrived`, `TransactionAborted`, `LogInEnded`, `TlsWanted`) with None.
"""

from datetime import datetime

from attrs import field, frozen

from submitd.mail.address import Mailbox
from submitd.mail.envelope import (
    Body,
    DeliverBy,
    ForwardPath,
    Ret,
    SubmittedBy,
    TlsDemand,
)


@frozen
class TlsWanted:
    """STARTTLS was accepted: 220 is in `data_to_send`; start TLS, then answer.

    The answer None makes the session forget all that was said before
    (RFC 3207 section 4.2).
    """


@frozen
class PasswordOffered:
    """AUTH brought a name and a password (PLAIN, LOGIN). Answer 235, 535 or 454."""

    mechanism: str
    authcid: str
    """Who proves. SASLprep has been applied."""

    authzid: str
    """As whom they want to act; empty where the client did not say."""

    password: str = field(repr=False)


@frozen
class ProofOffered:
    """AUTH brought another proof than a password. Answer 235, 535 or 454."""

    mechanism: str
    proof: object = field(repr=False)
    """As the mechanism made it: the session does not look into it."""


@frozen
class KeysWanted:
    """AUTH cannot go on without the stored keys of a name (SCRAM).

    Answer with `KeysFound`, also where nobody has that name, or with 454.
    """

    mechanism: str
    authcid: str
    """SASLprep has been applied."""


@frozen
class KeysFound:
    """The answer to `KeysWanted`, for the mechanism to use."""

    keys: object = field(repr=False)


@frozen
class SenderOffered:
    """MAIL: may this reverse-path send? Answer 250 or a refusal."""

    reverse_path: Mailbox | None
    body: Body
    smtputf8: bool
    declared_size: int | None
    ret: Ret | None
    envid: str | None
    release_at: datetime | None = None
    release_request: str = ""
    deliver_by: DeliverBy | None = None
    priority: int = 0
    """As the client asks for it. Where it is lowered, the answer says so."""

    tls_demand: TlsDemand | None = None
    submitted_by: SubmittedBy | None = None
    """As the client says. Whether they may say so is the desk's to judge."""


@frozen
class RecipientOffered:
    """RCPT: do we take mail for this recipient? Answer 250 or a refusal."""

    forward_path: ForwardPath


@frozen
class ContentOffered:
    """DATA or the first BDAT: may the content come? Answer 354 or a refusal.

    The session itself turns 354 into what BDAT needs, and drains the octets
    of a refused BDAT.
    """

    sender: SenderOffered
    forward_paths: tuple[ForwardPath, ...]
    """The accepted recipients, in order, without repeats."""


@frozen
class ContentArrived:
    """Some octets of the content, dot-stuffing undone. Answer None."""

    octets: bytes


@frozen
class ContentEnded:
    """The content is complete and within all limits. Answer 250 or a refusal.

    Content that broke a rule of framing (a bare CR or LF, too large) never
    gets here: the session answers by itself and reports `TransactionAborted`.
    """


@frozen
class TransactionAborted:
    """The transaction is over without a message: drop what came. Answer None.

    Comes after RSET, a new HELO/EHLO, QUIT, a refused content, and a client
    that leaves: wherever a SenderOffered had been answered with 250 and no
    ContentEnded was.
    """


@frozen
class LogInEnded:
    """What became of a claim that was answered with 235. Answer None.

    Between that answer and the client there may be last words of the mechanism, which
    the client may take or not (RFC 4954 section 4).
    """

    is_told: bool
    """The client heard the 235, and is logged in."""


Event = (
    TlsWanted
    | PasswordOffered
    | ProofOffered
    | KeysWanted
    | LogInEnded
    | SenderOffered
    | RecipientOffered
    | ContentOffered
    | ContentArrived
    | ContentEnded
    | TransactionAborted
)
