"""The log events, by name. Nothing is logged that has no name here.

``session`` is one connection's id from greeting to QUIT; ``queue_id`` is a
message's name from acceptance to removal. From acceptance on events carry
both where both are known, so that one search tells one message's life.
"""

from enum import IntEnum
from typing import Final, Protocol

from attrs import frozen


class Level(IntEnum):
    """How much an operator should care.

    INFO is what they count, WARN what they may need to act on, ERROR what is
    a bug of ours or stops the service.
    """

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40


@frozen
class LogEvent:
    """One kind of event: its stable name, its level and what it tells a person."""

    name: str
    level: Level
    sentence: str


class Events(Protocol):
    """Where events go."""

    def emit(self, event: LogEvent, **facts: object) -> None:
        """Log ``event``. Facts are named values: never a password, never content."""

    def failure(
        self, event: LogEvent, fault: BaseException | None, **facts: object
    ) -> None:
        """Log ``event`` with the traceback of a bug."""


# The server as a whole
STARTED: Final = LogEvent("started", Level.INFO, "submitd is ready")
STOPPING: Final = LogEvent("stopping", Level.INFO, "stopping")
STOPPED: Final = LogEvent("stopped", Level.INFO, "stopped")
RELOADED: Final = LogEvent("reloaded", Level.INFO, "the new configuration is in use")
RELOAD_REFUSED: Final = LogEvent(
    "reload-refused", Level.ERROR, "the new configuration is faulty; the old one stays"
)
RESTART_NEEDED: Final = LogEvent(
    "restart-needed", Level.WARN, "this change needs a restart"
)
LISTENING: Final = LogEvent("listening", Level.INFO, "listening")
WORKER_STARTED: Final = LogEvent("worker-started", Level.INFO, "worker started")
WORKER_ENDED: Final = LogEvent("worker-ended", Level.INFO, "worker ended")
WORKER_DIED: Final = LogEvent("worker-died", Level.ERROR, "worker died; restarting it")
WORKER_SILENT: Final = LogEvent(
    "worker-silent", Level.ERROR, "worker does not answer any more; ending it"
)
NURSERY_DIED: Final = LogEvent(
    "nursery-died", Level.WARN, "the process that forks workers died; starting one"
)
MANAGER_UNREACHED: Final = LogEvent(
    "manager-unreached", Level.ERROR, "cannot tell the service manager how we are"
)
LEASES_RELEASED: Final = LogEvent(
    "leases-released", Level.INFO, "took back what a dead worker had claimed"
)
CERTIFICATE_LOADED: Final = LogEvent(
    "certificate-loaded", Level.INFO, "certificate loaded"
)
CERTIFICATE_REFUSED: Final = LogEvent(
    "certificate-refused", Level.ERROR, "the changed certificate is not usable"
)
CERTIFICATE_ISSUED: Final = LogEvent(
    "certificate-issued", Level.INFO, "a new certificate is here"
)
CERTIFICATE_NOT_ISSUED: Final = LogEvent(
    "certificate-not-issued", Level.ERROR, "the authority gave no certificate"
)
CERTIFICATE_ENDS: Final = LogEvent(
    "certificate-ends", Level.ERROR, "the certificate ends soon, and is not renewed"
)
CONTROL_REQUEST: Final = LogEvent("control-request", Level.INFO, "admin request")
SUPERVISOR_SILENT: Final = LogEvent(
    "supervisor-silent", Level.WARN, "no answer from the supervisor; counting alone"
)
LOG_LINES_LOST: Final = LogEvent(
    "log-lines-lost", Level.WARN, "the log could not be written fast enough"
)
LOG_STAYS: Final = LogEvent(
    "log-stays", Level.WARN, "the log cannot be opened anew; the old file stays in use"
)
LIBRARY: Final = LogEvent("library", Level.INFO, "from a library")
BUG: Final = LogEvent("bug", Level.ERROR, "an error that nobody foresaw")

# A session
SESSION_OPENED: Final = LogEvent("session-opened", Level.INFO, "connection")
SESSION_REFUSED: Final = LogEvent("session-refused", Level.INFO, "connection refused")
SESSION_CLOSED: Final = LogEvent("session-closed", Level.INFO, "connection closed")
SESSION_TIMED_OUT: Final = LogEvent("session-timed-out", Level.INFO, "client too slow")
SESSION_BROKEN: Final = LogEvent("session-broken", Level.ERROR, "session abandoned")
TLS_STARTED: Final = LogEvent("tls-started", Level.DEBUG, "TLS started")
TLS_FAILED: Final = LogEvent("tls-failed", Level.INFO, "TLS handshake failed")
LOGIN_SUCCEEDED: Final = LogEvent("login-succeeded", Level.INFO, "logged in")
LOGIN_FAILED: Final = LogEvent("login-failed", Level.WARN, "log-in refused")
LOGIN_ABANDONED: Final = LogEvent(
    "login-abandoned",
    Level.INFO,
    "log-in right, but its client did not wait to hear so",
)
LOGIN_BRAKED: Final = LogEvent("login-braked", Level.WARN, "log-in put off")
LOG_INS_ABANDONED: Final = LogEvent(
    "log-ins-abandoned",
    Level.WARN,
    "many log-ins begun there and broken off; each counts as failed from now on",
)
BRAKE_BEGAN: Final = LogEvent(
    "brake-began", Level.WARN, "too many failed log-ins; putting off"
)
BRAKE_LIFTED: Final = LogEvent(
    "brake-lifted", Level.INFO, "put off no longer: an operator said so"
)
KNOWN_NETWORKS_UNKEPT: Final = LogEvent(
    "known-networks-unkept",
    Level.WARN,
    "cannot read or write from where accounts have logged in",
)
LOG_IN_SECRET_MADE: Final = LogEvent(
    "log-in-secret-made", Level.INFO, "there was no secret for log-ins; made one"
)
LOG_IN_SECRET_UNKEPT: Final = LogEvent(
    "log-in-secret-unkept",
    Level.WARN,
    "cannot read or write the secret for log-ins; using one for this start",
)
LOGIN_UNAVAILABLE: Final = LogEvent(
    "login-unavailable", Level.ERROR, "cannot tell who this is"
)
SENDER_REFUSED: Final = LogEvent("sender-refused", Level.WARN, "sender refused")
RECIPIENT_REFUSED: Final = LogEvent(
    "recipient-refused", Level.INFO, "recipient refused"
)
MESSAGE_REFUSED: Final = LogEvent("message-refused", Level.WARN, "message refused")
OVER_QUOTA: Final = LogEvent(
    "over-quota", Level.WARN, "over a submitter's limit; refused"
)
MESSAGE_HELD: Final = LogEvent(
    "message-held", Level.WARN, "over a submitter's limit; accepted and held"
)
MESSAGE_ACCEPTED: Final = LogEvent("message-accepted", Level.INFO, "message accepted")
FROM_REWRITTEN: Final = LogEvent(
    "from-rewritten", Level.INFO, "From field rewritten to the submitter's own"
)
SPOOL_UNAVAILABLE: Final = LogEvent(
    "spool-unavailable", Level.ERROR, "the spool cannot be written"
)

# Log-in's sources
TABLE_LOADED: Final = LogEvent("table-loaded", Level.INFO, "file read")
TABLE_REFUSED: Final = LogEvent(
    "table-refused", Level.ERROR, "file not usable; what was read before stays in use"
)
DIRECTORY_DOWN: Final = LogEvent(
    "directory-down", Level.WARN, "directory server does not serve"
)
DIRECTORY_ODD: Final = LogEvent(
    "directory-odd", Level.WARN, "the directory holds something unusable"
)
ISSUER_DOWN: Final = LogEvent(
    "issuer-down", Level.WARN, "the issuer of tokens does not serve"
)
ACCOUNT_LOCKED: Final = LogEvent("account-locked", Level.WARN, "locked account")

# Delivery
MESSAGE_RELAYED: Final = LogEvent("message-relayed", Level.INFO, "relayed")
MESSAGE_DELAYED: Final = LogEvent("message-delayed", Level.INFO, "delayed")
MESSAGE_FAILED: Final = LogEvent("message-failed", Level.WARN, "failed")
REPORT_MADE: Final = LogEvent("report-made", Level.INFO, "report entered the queue")
REPORT_DROPPED: Final = LogEvent(
    "report-dropped", Level.WARN, "a report could not be delivered and is dropped"
)
RENDITION_MADE: Final = LogEvent(
    "rendition-made", Level.INFO, "gave it another form for hosts that take less"
)
DESTINATION_DOWN: Final = LogEvent(
    "destination-down", Level.INFO, "destination cannot be reached"
)
TLS_FELL_BACK: Final = LogEvent(
    "tls-fell-back", Level.WARN, "TLS failed with this host; going on in clear text"
)
OUTCOME_UNRECORDED: Final = LogEvent(
    "outcome-unrecorded", Level.ERROR, "an outcome could not be recorded; trying again"
)
QUEUE_UNREADABLE: Final = LogEvent(
    "queue-unreadable", Level.ERROR, "cannot look for due messages; trying again"
)
REMINDER_FAILED: Final = LogEvent(
    "reminder-failed", Level.ERROR, "nobody was reminded of held mail; trying again"
)
ATTEMPT_BROKE: Final = LogEvent("attempt-broke", Level.ERROR, "an attempt broke off")
