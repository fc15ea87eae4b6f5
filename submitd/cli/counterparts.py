"""Postfix's parameters that are a setting of ours by themselves, or none at all."""

import re
from collections.abc import Callable
from typing import Final


class NotPlain(ValueError):
    """The value is none that can be taken over by itself."""


def _whole(value: str) -> object:
    if not value.isdecimal() or int(value) == 0:
        raise NotPlain
    return int(value)


def _whole_or_off(value: str) -> object:
    return "off" if value == "0" else _whole(value)


def _as_text(value: str) -> object:
    if not value or "$" in value:
        raise NotPlain
    return value


def _time(unit: str, least: int = 1) -> Callable[[str], object]:
    def read(value: str) -> object:
        match = re.fullmatch(r"(\d+)([smhdw]?)", value)
        if match is None:
            raise NotPlain
        number, given = int(match[1]), match[2] or unit
        if given == "w":
            number, given = number * 7, "d"
        if number < least:
            raise NotPlain
        return f"{number}{given}"

    return read


def _time_or_off(unit: str) -> Callable[[str], object]:
    read = _time(unit)
    return lambda value: "off" if value.rstrip("smhdw") == "0" else read(value)


PLAIN: Final[dict[str, tuple[str, str, Callable[[str], object]]]] = {
    "myhostname": ("server", "hostname", _as_text),
    "smtpd_tls_cert_file": ("tls", "certificate", _as_text),
    "smtpd_tls_key_file": ("tls", "key", _as_text),
    "message_size_limit": ("limits", "message_size", _whole_or_off),
    "header_size_limit": ("limits", "header_size", _whole),
    "smtpd_recipient_limit": ("limits", "recipients", _whole),
    "hopcount_limit": ("limits", "received_fields", _whole),
    "smtpd_hard_error_limit": ("limits", "bad_commands", _whole),
    "smtpd_client_connection_count_limit": (
        "limits",
        "connections_per_address",
        _whole_or_off,
    ),
    "smtpd_timeout": ("limits", "idle", _time("s")),
    "minimal_backoff_time": ("retry", "first", _time("s")),
    "maximal_backoff_time": ("retry", "longest", _time("s")),
    "maximal_queue_lifetime": ("retry", "give_up", _time("d")),
    "delay_warning_time": ("retry", "report_delay_after", _time_or_off("h")),
    "bounce_size_limit": ("delivery", "returned_content", _whole),
    "default_destination_concurrency_limit": (
        "delivery",
        "connections_per_destination",
        _whole,
    ),
    "smtp_bind_address": ("delivery", "source_ipv4", _as_text),
    "smtp_bind_address6": ("delivery", "source_ipv6", _as_text),
    "smtp_connect_timeout": ("delivery.time_out", "connect", _time("s")),
    "smtp_helo_timeout": ("delivery.time_out", "helo", _time("s")),
    "smtp_mail_timeout": ("delivery.time_out", "mail", _time("s")),
    "smtp_rcpt_timeout": ("delivery.time_out", "rcpt", _time("s")),
    "smtp_data_init_timeout": ("delivery.time_out", "data", _time("s")),
    "smtp_data_xfer_timeout": ("delivery.time_out", "block", _time("s")),
    "smtp_data_done_timeout": ("delivery.time_out", "dot", _time("s")),
    "smtp_quit_timeout": ("delivery.time_out", "quit", _time("s")),
}

_REASONS: Final = {
    r"mydestination|relay_\w+|virtual_\w+|alias_\w+|local_\w+|mailbox_\w+|home_mailbox"
    r"|mail_spool_directory|luser_relay|postscreen_\w+|forward_path"
    r"|recipient_delimiter|unknown_local_\w+": "incoming mail is not for submitd",
    r"smtpd_sasl_auth_enable|smtpd_tls_(security_level|auth_only)|smtpd_use_tls"
    r"|broken_sasl_auth_clients|smtpd_sasl_security_options|smtpd_helo_required"
    r"|smtpd_sasl_(type|path|tls_security_options)|disable_vrfy_command"
    r"|smtp_sasl_(auth_enable|security_options|tls_security_options)"
    r"|smtpd_data_restrictions|strict_rfc821_envelopes": "submitd does so always",
    r"compatibility_level|biff|\w+_directory|mail_owner|setgid_group|\w+_path"
    r"|append_dot_mydomain|smtpd_banner|mail_name|debug\w*|manpage_directory"
    r"|smtpd?_tls_session_cache_database|smtpd?_tls_loglevel|smtpd_tls_received_header"
    r"|myorigin|mydomain|syslog_\w+|maillog_file|sample_directory|smtpd_tls_dh\w+_file"
    r"|smtputf8_enable": "nothing to set",
    r"smtpd_milters|non_smtpd_milters|milter_\w+": "submitd signs by itself, and asks"
    " no milter",
    r"smtpd_\w+_restrictions": "submitd has rules of its own: log-in, [senders]",
    r"header_checks|body_checks|mime_header_checks|smtp_header_checks|content_filter"
    r"|always_bcc|\w*canonical_\w+|masquerade_\w+|smtp_generic_maps|sender_bcc_maps"
    r"|recipient_bcc_maps": "submitd changes no content or address",
}


def why_not(name: str) -> str:
    """Why a parameter that was not asked for has no place here."""
    return next(
        (why for names, why in _REASONS.items() if re.fullmatch(names, name)),
        "no counterpart",
    )
