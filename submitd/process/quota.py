"""Limits per submitter, as configured."""

from submitd.config.people import QuotaLimits
from submitd.config.sections import Config
from submitd.mail.usage import login_key
from submitd.policy.quota import Quota, Quotas, Room


def quotas_of(config: Config) -> Quotas:
    """Who may send how much."""
    return Quotas(
        _quota(config.quota),
        {
            login_key(login): _quota(rule)
            for rule in config.quota.rule.values()
            for login in rule.logins
        },
    )


def _quota(section: QuotaLimits) -> Quota:
    return Quota(
        burst=section.burst,
        messages_per_hour=section.messages_per_hour,
        messages_per_day=section.messages_per_day,
        recipients_per_hour=section.recipients_per_hour,
        recipients_per_day=section.recipients_per_day,
        new_recipients_per_day=section.new_recipients_per_day,
        holds=section.on_excess == "hold",
        held=Room(messages=section.held_messages, octets=section.held_size),
        later=Room(messages=section.later_messages, octets=section.later_size),
    )
