"""All sections of the configuration, by the names of their tables.

``etc/submitd.toml`` and ``docs/configuration.md`` are made from these
classes (`config.document`); nothing about a setting is said anywhere else.
"""

from collections.abc import Mapping

from attrs import Factory, field, frozen

from submitd.config.people import (
    LdapSection,
    LogInSection,
    PasswordFileSection,
    QuotaSection,
    SendersSection,
)
from submitd.config.sending import (
    DeliverySection,
    DkimSection,
    DnsSection,
    MessageSection,
    RetrySection,
    RouteSection,
    SpoolSection,
)
from submitd.config.serving import (
    AcmeSection,
    ExtensionsSection,
    LimitsSection,
    ListenerSection,
    LogSection,
    MetricsSection,
    ServerSection,
    TlsSection,
)


@frozen(kw_only=True)
class Config:
    """Everything that is configured."""

    server: ServerSection = Factory(ServerSection)
    log: LogSection = Factory(LogSection)
    metrics: MetricsSection = Factory(MetricsSection)
    tls: TlsSection = Factory(TlsSection)
    acme: AcmeSection = Factory(AcmeSection)
    listener: Mapping[str, ListenerSection] = field(
        factory=dict, metadata={"tables": ListenerSection, "name": "NAME"}
    )
    limits: LimitsSection = Factory(LimitsSection)
    extensions: ExtensionsSection = Factory(ExtensionsSection)
    log_in: LogInSection = Factory(LogInSection)
    ldap: LdapSection = Factory(LdapSection)
    password_file: PasswordFileSection = Factory(PasswordFileSection)
    senders: SendersSection = Factory(SendersSection)
    dkim: DkimSection = Factory(DkimSection)
    message: MessageSection = Factory(MessageSection)
    spool: SpoolSection = Factory(SpoolSection)
    dns: DnsSection = Factory(DnsSection)
    delivery: DeliverySection = Factory(DeliverySection)
    route: Mapping[str, RouteSection] = field(
        factory=dict, metadata={"tables": RouteSection, "name": '"example.net"'}
    )
    retry: RetrySection = Factory(RetrySection)
    quota: QuotaSection = Factory(QuotaSection)
