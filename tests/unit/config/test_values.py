"""Each value in its forms, and what would be right for every other."""

from collections.abc import Callable
from datetime import date, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from submitd.config import values
from submitd.config.serving import listen_address, workers


@pytest.mark.parametrize(
    ("read", "written", "value"),
    [
        (values.text, "", ""),
        (values.filled_text, "x", "x"),
        (values.truth, True, True),
        (values.whole(1, 9), 9, 9),
        (values.whole(1), 10**12, 10**12),
        (values.fraction, 0, 0.0),
        (values.fraction, 0.5, 0.5),
        (values.span(), 90, timedelta(seconds=90)),
        (values.span(), 0.5, timedelta(seconds=0.5)),
        (values.span(), "250ms", timedelta(milliseconds=250)),
        (values.span(), "90s", timedelta(seconds=90)),
        (values.span(), "1.5 m", timedelta(seconds=90)),
        (values.span(), "4h", timedelta(hours=4)),
        (values.span(), "5d", timedelta(days=5)),
        (values.span(), "2w", timedelta(days=14)),
        (values.size(), 1024, 1024),
        (values.size(), "1024", 1024),
        (values.size(), "1KiB", 1024),
        (values.size(), "1 kB", 1000),
        (values.size(), "50MB", 50_000_000),
        (values.size(), "2GiB", 2 * 1024**3),
        (values.or_off(values.whole(1)), "off", None),
        (values.or_off(values.whole(1)), 0, None),
        (values.or_off(values.whole(1)), False, None),
        (values.or_off(values.whole(1)), 3, 3),
        (values.choice("a", "b"), "b", "b"),
        (values.listed(values.whole(0)), [1, 2], (1, 2)),
        (values.listed(values.whole(0)), [], ()),
        (values.optional_path, "", None),
        (values.optional_path, "a/b", Path("a/b")),
        (values.path, "a", Path("a")),
        (values.path_or_standard_error, "-", None),
        (values.path_or_standard_error, "a", Path("a")),
        (values.domain, "Mail.Example.ORG", "mail.example.org"),
        (values.domain, "bücher.example", "xn--bcher-kva.example"),
        (values.optional_domain, "", ""),
        (values.optional_domain, "example.org", "example.org"),
        (values.address, "2001:DB8::1", "2001:db8::1"),
        (values.optional_address, "", ""),
        (values.optional_address, "192.0.2.1", "192.0.2.1"),
        (values.network, "192.0.2.0/24", IPv4Network("192.0.2.0/24")),
        (values.network, "::1", IPv6Network("::1/128")),
        (values.socket_address, "127.0.0.1:53", ("127.0.0.1", 53)),
        (values.socket_address, "[::1]:53", ("::1", 53)),
        (values.socket_address_or_off, "off", None),
        (values.socket_address_or_off, "127.0.0.1:1", ("127.0.0.1", 1)),
        (workers, "auto", None),
        (workers, 0, 0),
        (listen_address, "*", "*"),
        (listen_address, "systemd:smtp", "systemd:smtp"),
        (listen_address, "::1", "::1"),
    ],
)
def test_a_value_is_read_in_each_of_its_forms(
    read: Callable[[object], Any], written: object, value: object
) -> None:
    assert read(written) == value


@pytest.mark.parametrize(
    ("read", "written", "right"),
    [
        (values.text, 1, "must be text in quotes"),
        (values.filled_text, "", "must not be empty"),
        (values.truth, "yes", "must be true or false"),
        (values.truth, 1, "must be true or false"),
        (values.whole(1, 9), 0, "must be a whole number from 1 to 9"),
        (values.whole(1, 9), 10, "must be a whole number from 1 to 9"),
        (values.whole(1), True, "must be a whole number from 1"),
        (values.whole(1), 1.0, "must be a whole number from 1"),
        (values.whole(1), "1", "must be a whole number from 1"),
        (values.fraction, 1.1, "must be a number from 0 to 1"),
        (values.fraction, True, "must be a number from 0 to 1"),
        (values.fraction, "0.5", "must be a number from 0 to 1"),
        (values.fraction, float("nan"), "must be a number from 0 to 1"),
        (values.span(1), 0.5, "must be a time such as .* at least 1s"),
        (values.span(), -1, "must be a time such as"),
        (values.span(), True, "must be a time such as"),
        (values.span(), "5 parsecs", "must be a time such as"),
        (values.span(), float("inf"), "must be a time such as"),
        (values.span(), "11000d", "must be a time such as"),
        (values.size(), "1.5MB", "must be a size such as"),
        (values.size(), -1, "must be a size such as"),
        (values.size(), True, "must be a size such as"),
        (values.size(), 1.5, "must be a size such as"),
        (values.size(1024), "1kB", "must be a size such as .* at least 1024"),
        (values.or_off(values.whole(1)), -1, 'a whole number from 1, or "off"'),
        (values.choice("a", "b"), "c", 'must be one of "a", "b"'),
        (values.choice("a", "b"), ["a"], 'must be one of "a", "b"'),
        (values.listed(values.whole(0)), 1, r"must be a list in \[ \]"),
        (values.listed(values.whole(0)), [1, "x"], "must be a whole number"),
        (values.path, "", "must not be empty"),
        (values.path_or_standard_error, "", "must not be empty"),
        (values.domain, "no domain", "must be a domain name such as"),
        (values.domain, 5, "must be text in quotes"),
        (values.address, "localhost", "must be an IP address such as"),
        (values.address, 5, "must be an IP address such as"),
        (values.network, "192.0.2.1/24", "must be an IP address or network"),
        (values.network, date(2026, 1, 1), "must be an IP address or network"),
        (values.socket_address, "127.0.0.1", 'must be "address:port"'),
        (values.socket_address, "::1:53", 'must be "address:port"'),
        (values.socket_address, "[127.0.0.1]:53", 'must be "address:port"'),
        (values.socket_address, "[::1:53", 'must be "address:port"'),
        (values.socket_address, "localhost:53", 'must be "address:port"'),
        (values.socket_address, "127.0.0.1:65536", 'must be "address:port"'),
        (values.socket_address, "127.0.0.1:x", 'must be "address:port"'),
        (values.socket_address, 53, "must be text in quotes"),
        (workers, 257, 'must be "auto" or a whole number from 0 to 256'),
        (listen_address, "localhost", 'must be an IP address, "\\*" for all'),
        (listen_address, 5, "must be an IP address"),
    ],
)
def test_any_other_value_is_refused_with_what_would_be_right(
    read: Callable[[object], Any], written: object, right: str
) -> None:
    with pytest.raises(ValueError, match=right):
        read(written)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.org",
        "https://[::1]:8443/a?b=c",
        "https://xn--bcher-kva.example/",
    ],
)
def test_a_web_server_s_address_is_one_under_tls(url: str) -> None:
    assert values.https_url(url) == values.optional_https_url(url) == url
    assert values.optional_https_url("") == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        5,
        "id.example.org",
        "http://id.example.org",
        "https://",
        "https:///keys",
        "https://id.example.org:0/",
        "https://id.example.org:99999/",
        "https://user@id.example.org/",
        "https://id.example.org/#x",
        "https://id.example.org/a b",
        "https://id.example.org/\r\nx",
        "https://bücher.example/",
        "https://[::1/",
    ],
)
def test_any_other_address_is_none(url: object) -> None:
    with pytest.raises(ValueError, match="must"):
        values.https_url(url)
