"""The avatar: who an authenticated client proved to be, and what is theirs."""

from attrs import field, frozen
from zope.interface import Attribute, Interface, implementer

from submitd.mail.address import Mailbox


@frozen
class Exactly:
    """One mailbox, as it stands."""

    mailbox: Mailbox

    def covers(self, mailbox: Mailbox) -> bool:
        return mailbox.key == self.mailbox.key


@frozen
class WithSubaddresses:
    """One mailbox, with and without ``+anything`` behind its local part.

    Source: RFC 5233 section 4.
    """

    mailbox: Mailbox
    delimiter: str = "+"

    def covers(self, mailbox: Mailbox) -> bool:
        local, domain = mailbox.key
        own, own_domain = self.mailbox.key
        return domain == own_domain and (
            local == own or local.startswith(own + self.delimiter)
        )


@frozen
class WholeDomain:
    """Every mailbox of one domain."""

    domain: str
    subdomains: bool = False

    def covers(self, mailbox: Mailbox) -> bool:
        return mailbox.domain == self.domain or (
            self.subdomains and mailbox.domain.endswith("." + self.domain)
        )


@frozen
class Anything:
    """Every mailbox whatever: satellites and relays only."""

    def covers(self, mailbox: Mailbox) -> bool:  # noqa: ARG002
        return True


Grant = Exactly | WithSubaddresses | WholeDomain | Anything


@frozen
class Permission:
    """One grant, and who gave it: what ``submitctl whoami`` explains."""

    grant: Grant
    rule: str
    """Name of the configured rule, as ``senders.rule.NAME``."""

    source: str
    """The directory entry (its DN), ``FILE:LINE``, or the template."""


class ISubmitter(Interface):
    """What the portal gives for a successful login."""

    login = Attribute("The canonical uid, as str.")
    permissions = Attribute("Tuple of Permission.")


@implementer(ISubmitter)
@frozen
class Submitter:
    """Who a client proved to be.

    ``login`` is the directory's own name of the entry, so that ``Alice``,
    ``alice``, ``alice@example.org`` and a second uid of hers are one for limits,
    locks and logs.
    """

    login: str
    permissions: tuple[Permission, ...] = field(repr=False)

    def permission_for(self, mailbox: Mailbox) -> Permission | None:
        """The first permission that covers ``mailbox``; None: not theirs."""
        for permission in self.permissions:
            if permission.grant.covers(mailbox):
                return permission
        return None

    def primary(self, *, utf8: bool) -> Mailbox | None:
        """The mailbox to write in: the first that is granted exactly.

        ``utf8``: it may be other than ASCII.
        """
        for permission in self.permissions:
            if isinstance(permission.grant, Exactly | WithSubaddresses):
                mailbox = permission.grant.mailbox
                if utf8 or mailbox.is_ascii:
                    return mailbox
        return None
