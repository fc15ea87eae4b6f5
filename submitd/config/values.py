"""How single values are written: spans of time, sizes, addresses, choices.

Each reader takes what TOML gave and returns the value, or raises ValueError
whose text says what would be right.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from attrs import field

from submitd.mail.address import BadAddress, parse_domain

T = TypeVar("T")
Read = Callable[[object], T]

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SPAN_UNITS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_SIZE: Final = re.compile(r"(\d+)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB|K|M|G)?")
_SIZE_UNITS: Final = {
    None: 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "K": 1024,
    "M": 1024**2,
    "G": 1024**3,
}


def setting(read: Read[T], doc: str, *, default: Any, example: Any = None) -> Any:  # noqa: ANN401
    """A field of a section: how it is read, what it means, what it is unless set.

    ``default`` is written as an operator would write it; it is read like a
    written value, so that there is one form of each.
    """
    return field(
        default=None if default is None else read(default),
        metadata={"read": read, "doc": doc, "default": default, "example": example},
    )


def text(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")
    return value


def filled_text(value: object) -> str:
    """Text that is not empty."""
    if not text(value):
        raise ValueError("must not be empty")
    return text(value)


def truth(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def whole(at_least: int, at_most: int | None = None) -> Read[int]:
    """A whole number within bounds."""

    def read(value: object) -> int:
        high = "" if at_most is None else f" to {at_most}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < at_least
            or (at_most is not None and value > at_most)
        ):
            raise ValueError(f"must be a whole number from {at_least}{high}")
        return value

    return read


def fraction(value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number from 0 to 1")
    if not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def span(at_least: float = 0.0) -> Read[timedelta]:
    """A span of time: seconds, or text such as "90s", "5m", "4h", "5d"."""

    def read(value: object) -> timedelta:
        right = (
            'must be a time such as "90s", "5m", "4h", "5d" or a number of seconds'
            + (f", at least {at_least:g}s" if at_least else "")
        )
        if isinstance(value, bool):
            raise ValueError(right)
        if isinstance(value, int | float):
            seconds = float(value)
        elif isinstance(value, str) and (found := _SPAN.fullmatch(value.strip())):
            seconds = float(found[1]) * _SPAN_UNITS[found[2]]
        else:
            raise ValueError(right)
        if not at_least <= seconds <= 10 * 365 * 86400:
            raise ValueError(right)
        return timedelta(seconds=seconds)

    return read


def size(at_least: int = 0) -> Read[int]:
    """Octets: a number, or text such as "256KiB", "50MB"."""

    def read(value: object) -> int:
        right = 'must be a size such as "256KiB", "50MB" or a number of octets' + (
            f", at least {at_least}" if at_least else ""
        )
        if isinstance(value, bool):
            raise ValueError(right)
        if isinstance(value, int):
            octets = value
        elif isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
            octets = int(found[1]) * _SIZE_UNITS[found[2]]
        else:
            raise ValueError(right)
        if octets < at_least:
            raise ValueError(right)
        return octets

    return read


def or_off(read: Read[T]) -> Read[T | None]:
    """The same, or 0, "off" or false: None, which is no limit."""

    def reading(value: object) -> T | None:
        if value in ("off", 0):
            return None
        try:
            return read(value)
        except ValueError as problem:
            raise ValueError(f'{problem}, or "off"') from None

    return reading


def choice(*words: str) -> Read[str]:
    """One of a few words."""

    def read(value: object) -> str:
        if value not in words:
            listed = ", ".join(f'"{word}"' for word in words)
            raise ValueError(f"must be one of {listed}")
        return str(value)

    return read


def listed(read: Read[T]) -> Read[tuple[T, ...]]:
    """A list of such values."""

    def reading(value: object) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("must be a list in [ ]")
        return tuple(read(one) for one in value)

    return reading


def optional_path(value: object) -> Path | None:
    """A path; empty is none. Made absolute by the reader."""
    return Path(text(value)) if text(value) else None


def path(value: object) -> Path:
    """A path. Made absolute by the reader."""
    return Path(filled_text(value))


def path_or_standard_error(value: object) -> Path | None:
    """A path, or "-": None."""
    return None if value == "-" else path(value)


def domain(value: object) -> str:
    """A domain name, in its canonical form."""
    try:
        return parse_domain(filled_text(value))
    except BadAddress as problem:
        raise ValueError("must be a domain name such as mail.example.org") from problem


def https_url(value: object) -> str:
    """An address of a web server under TLS."""
    right = 'must be an https:// URL such as "https://id.example.org/keys"'
    try:
        parts = urlsplit(filled_text(value))
        is_right = parts.port != 0
    except ValueError:
        raise ValueError(right) from None
    if not (
        is_right
        and parts.scheme == "https"
        and parts.hostname
        and parts.username is None
        and not parts.fragment
        and text(value).isascii()
        and text(value).isprintable()
        and " " not in text(value)
    ):
        raise ValueError(right)
    return text(value)


def optional_https_url(value: object) -> str:
    """An address of a web server under TLS, or empty."""
    return https_url(value) if value != "" else ""


def certificate_name(value: object) -> str:
    """A domain name, or ``*.`` and one: any name right below it."""
    star = "*." if text(value).startswith("*.") else ""
    return star + domain(text(value).removeprefix(star))


def optional_domain(value: object) -> str:
    """A domain name, or empty."""
    return domain(value) if value != "" else ""


def address(value: object) -> str:
    """An IP address."""
    try:
        return str(ip_address(filled_text(value)))
    except ValueError:
        raise ValueError(
            "must be an IP address such as 192.0.2.1 or 2001:db8::1"
        ) from None


def optional_address(value: object) -> str:
    """An IP address, or empty."""
    return address(value) if value != "" else ""


def network(value: object) -> IPv4Network | IPv6Network:
    """An IP address or network."""
    try:
        return ip_network(filled_text(value))
    except ValueError:
        raise ValueError(
            "must be an IP address or network such as 127.0.0.1 or 192.0.2.0/24"
        ) from None


def socket_address(value: object) -> tuple[str, int]:
    """``address:port``; an IPv6 address stands in brackets."""
    right = 'must be "address:port" such as "127.0.0.1:53" or "[::1]:53"'
    host, _, port = text(value).rpartition(":")
    if host.startswith("[") != host.endswith("]") or not port.isdecimal():
        raise ValueError(right)
    try:
        parsed = ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(right) from None
    if (parsed.version == 6) != host.startswith("[") or not 0 <= int(port) <= 65535:
        raise ValueError(right)
    return str(parsed), int(port)


def socket_address_or_off(value: object) -> tuple[str, int] | None:
    """``address:port`` or "off"."""
    return None if value == "off" else socket_address(value)
