"""Why a log-in came to nothing. "No" and "cannot tell" are different answers."""

from twisted.cred.error import UnauthorizedLogin


class AccountLocked(UnauthorizedLogin):
    """Locked, expired or disabled. The client hears what a wrong password hears."""


class TooManyFailures(Exception):
    """Put off before anybody was asked (454 4.7.0)."""


class DirectoryUnavailable(Exception):
    """Cannot tell who this is (454 4.7.0). The message is for the log only."""


class AskedAlready(DirectoryUnavailable):
    """Cannot tell, since somebody was asked a moment ago, and is not again so soon for
    what may be made up.
    """


class DirectoryRefusesUs(DirectoryUnavailable):
    """Each server answers, and its name, its certificate or our own log-in there is
    not as configured: an operator has to mend that.
    """
