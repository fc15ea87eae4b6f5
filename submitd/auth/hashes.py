"""Stored passwords: every scheme that directories and passwd-files hold.

All of it blocks, some of it for a tenth of a second: call it in `HashThreads`.
crypt(3) goes to libcrypt directly, which lets other threads run meanwhile.
"""

import base64
import binascii
import ctypes
import ctypes.util
import hashlib
import hmac
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import argon2
from passlib import hash as passlib_hash
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from submitd.auth.errors import DirectoryUnavailable

_SCHEME: Final = re.compile(
    r"\{([A-Za-z0-9-]+)(?:\.(B64|BASE64|HEX))?\}(.*)", re.IGNORECASE | re.DOTALL
)
_AUTH_PASSWORD: Final = re.compile(
    r" *(SCRAM-SHA-(?:1|256)) *\$([^:$]*):([^:$]*)\$([^:$]*):([^:$]*)", re.IGNORECASE
)
"""An authPassword value (RFC 5803 section 2)."""

_FAMILIES: Final = re.compile(
    # Traditional DES, MD5, SHA-256 and SHA-512; then bcrypt; then yescrypt,
    # gost-yescrypt and scrypt with at most 1 GiB and one pass. What libcrypt knows
    # beside these has costs that nothing here bounds (SunMD5, NetBSD's SHA-1, BSDi).
    r"[./0-9A-Za-z]{13}|\$1\$.*|\$[56]\$(?:rounds=(?P<rounds>[0-9]{1,9})\$)?[^$]*\$[^$]*"
    r"|\$2[abxy]\$(?P<cost>[0-9]{2})\$.*"
    r"|\$g?y\$j[./0-9A-F][./0-9A-T]\$.*|\$7\$[./0-9A-G][./0-9A-U]\.{4}/\.{4}.*",
    re.ASCII,
)
_MOST_ROUNDS: Final = 2_000_000
_MOST_BCRYPT: Final = 15
_MOST_ITERATIONS: Final = 5_000_000
_MOST_MEMORY: Final = 1024 * 1024
"""KiB for one Argon2 hash."""

_MOST_FILLED: Final = 8 * _MOST_MEMORY
"""KiB that one Argon2 hash may write in all its passes."""

_MOST_LANES: Final = 16
_LONGEST_PHRASE: Final = 511
"""Octets that libcrypt takes (crypt.h of libxcrypt)."""


class UnknownScheme(ValueError):
    """The stored value is in no scheme that we can check, or is malformed."""


def verify(stored: str, password: str) -> bool:
    """True where ``password`` is the one behind ``stored``.

    Raises:
        UnknownScheme: the value cannot be checked, which is not a "no".
    """
    if not password or "\0" in password:
        return False
    if (scram := _AUTH_PASSWORD.fullmatch(stored)) is not None:
        stored = "{{{}}}{},{},{},{}".format(*(one.strip() for one in scram.groups()))
    if (found := _SCHEME.fullmatch(stored)) is None:
        return (_argon2 if stored.startswith("$argon2") else _crypt)(stored, password)
    name, encoding, value = found[1].upper(), (found[2] or "").upper(), found[3]
    check = _CHECKS.get(name)
    if check is None:
        raise UnknownScheme(f"no such password scheme: {name}")
    if encoding and name not in _OCTETS:
        value = _decoded(value, encoding)
    return check(value, password)


def clear_text(stored: str) -> str | None:
    """The password itself, where that is what is stored; None: it is not."""
    found = _SCHEME.fullmatch(stored)
    if found is None or _CHECKS.get(found[1].upper()) is not _plain:
        return None
    try:
        return _decoded(found[3], found[2].upper()) if found[2] else found[3]
    except UnknownScheme:
        return None


def is_locked(stored: str) -> bool:
    """True for what no password matches by intent, as ``!`` before a hash.

    Source: shadow(5); ``*LK*`` is what userdir-ldap writes.
    """
    found = _SCHEME.fullmatch(stored)
    if found is None:
        return stored.startswith(("!", "*"))
    crypt = _CHECKS.get(found[1].upper()) is _crypt
    return crypt and found[3].startswith(("!", "*"))


def _decoded(value: str, encoding: str) -> str:
    try:
        octets = (
            bytes.fromhex(value)
            if encoding == "HEX"
            else base64.b64decode(value, validate=True)
        )
        return octets.decode()
    except ValueError as problem:
        raise UnknownScheme(f"a value that is not {encoding}") from problem


@lru_cache(maxsize=1)
def _libcrypt() -> Any:  # noqa: ANN401
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt_r.restype = ctypes.c_char_p
    library.crypt_r.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    return library


_LOCAL: Final = threading.local()
_CRYPT_DATA: Final = 32768
"""Octets of struct crypt_data (crypt.h of libxcrypt)."""


def _crypt(stored: str, password: str) -> bool:
    """crypt(3): $1$ $5$ $6$ $y$ $2b$ … and traditional DES."""
    if (family := _FAMILIES.fullmatch(stored)) is None or not stored.isascii():
        raise UnknownScheme("not a crypt(3) hash, or one of unbounded cost")
    if (
        int(family["rounds"] or 0) > _MOST_ROUNDS
        or int(family["cost"] or 0) > _MOST_BCRYPT
    ):
        raise UnknownScheme("a hash that would take minutes to check")
    phrase = password.encode()
    if len(phrase) > _LONGEST_PHRASE:
        return False  # nothing that libcrypt made can be its hash
    data = getattr(_LOCAL, "data", None)
    if data is None:
        data = _LOCAL.data = ctypes.create_string_buffer(_CRYPT_DATA)
    # ctypes gives the interpreter to others while libcrypt works.
    made = _libcrypt().crypt_r(phrase, stored.encode("ascii"), data)
    if not made or made.startswith(b"*"):
        raise UnknownScheme("not a crypt(3) hash that this system knows")
    return hmac.compare_digest(made, stored.encode("ascii"))


def _pbkdf2(digest: str) -> Callable[[str, str], bool]:
    """passlib's and OpenLDAP's ``rounds$salt$digest``."""
    scheme: Any = getattr(passlib_hash, f"pbkdf2_{digest}")

    def check(value: str, password: str) -> bool:
        stored = scheme.ident + value
        try:
            rounds = scheme.from_string(stored).rounds
        except (ValueError, TypeError) as problem:
            # The library's words may quote the hash.
            raise UnknownScheme("malformed PBKDF2 value") from problem
        if rounds > _MOST_ITERATIONS:
            raise UnknownScheme("a PBKDF2 value that would take too long")
        return bool(scheme.verify(password, stored))

    return check


_pbkdf2_sha1: Final = _pbkdf2("sha1")


def _any_pbkdf2(value: str, password: str) -> bool:
    """``{PBKDF2}``: Dovecot's form and OpenLDAP's have one name."""
    if value.startswith("$"):
        return _dovecot_pbkdf2(value, password)
    return _pbkdf2_sha1(value, password)


def _digest(name: str) -> Callable[[str, str], bool]:
    """SSHA and its like: base64 of digest and salt, of any length; or in hex."""
    size = hashlib.new(name).digest_size

    def check(value: str, password: str) -> bool:
        try:
            octets = (
                bytes.fromhex(value)
                if _HEX.fullmatch(value) and len(value) >= size * 2
                else base64.b64decode(value, validate=True)
            )
        except ValueError as problem:
            raise UnknownScheme("a salted hash that is not base64") from problem
        if len(octets) < size:
            raise UnknownScheme("a salted hash that is too short")
        made = hashlib.new(name, password.encode() + octets[size:]).digest()
        return hmac.compare_digest(made, octets[:size])

    return check


_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")
"""Base64 of a digest is never of these alone, but for chances below 2**-60."""

_md5: Final = _digest("md5")


def _any_md5(value: str, password: str) -> bool:
    """``{MD5}``: the digest in LDAP, crypt(3)'s in Dovecot."""
    return (_crypt if value.startswith("$") else _md5)(value, password)


def _argon2(value: str, password: str) -> bool:
    try:
        known = argon2.extract_parameters(value)
        if (
            known.memory_cost > _MOST_MEMORY
            or known.memory_cost * known.time_cost > _MOST_FILLED
            or known.parallelism > _MOST_LANES
        ):
            raise UnknownScheme("an Argon2 hash that would take too much")
        return argon2.PasswordHasher().verify(value, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.Argon2Error, argon2.exceptions.InvalidHash) as problem:
        raise UnknownScheme("malformed Argon2 value") from problem
    except UnknownScheme:
        raise
    except (ValueError, OverflowError, binascii.Error) as problem:
        # Numbers that are none, or that C cannot hold.
        raise UnknownScheme("malformed Argon2 value") from problem


def _scram(digest: str) -> Callable[[str, str], bool]:
    """``iterations,salt,stored key,server key`` (RFC 5803's facts, Dovecot's form)."""
    size = hashlib.new(digest).digest_size

    def check(value: str, password: str) -> bool:
        try:
            iterations, salt, stored_key, _ = value.split(",")
            rounds, salted = int(iterations), base64.b64decode(salt, validate=True)
            wanted = base64.b64decode(stored_key, validate=True)
        except ValueError as problem:
            raise UnknownScheme("malformed SCRAM value") from problem
        if not 0 < rounds <= _MOST_ITERATIONS or len(wanted) != size:
            raise UnknownScheme("a SCRAM value that would take too long, or is cut")
        key = hashlib.pbkdf2_hmac(digest, password.encode(), salted, rounds)
        client = hmac.new(key, b"Client Key", digest).digest()
        return hmac.compare_digest(hashlib.new(digest, client).digest(), wanted)

    return check


def _dovecot_pbkdf2(value: str, password: str) -> bool:
    """Dovecot's ``$1$salt$rounds$hex``, which is SHA-1."""
    try:
        _, one, salt, rounds, digest = value.split("$")
        iterations = int(rounds)
        wanted = bytes.fromhex(digest)
    except ValueError as problem:
        raise UnknownScheme("malformed PBKDF2 value") from problem
    if one != "1" or not 0 < iterations <= _MOST_ITERATIONS or len(wanted) != 20:
        raise UnknownScheme("malformed PBKDF2 value")
    made = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), iterations)
    return hmac.compare_digest(made, wanted)


def _plain(value: str, password: str) -> bool:
    return hmac.compare_digest(value.encode(), password.encode())


_OCTETS: Final[dict[str, Callable[[str, str], bool]]] = {
    "MD5": _any_md5,
    **dict.fromkeys(("SMD5", "LDAP-MD5", "PLAIN-MD5"), _md5),
    **dict.fromkeys(("SHA", "SHA1", "SSHA"), _digest("sha1")),
    **dict.fromkeys(("SHA256", "SSHA256"), _digest("sha256")),
    **dict.fromkeys(("SHA512", "SSHA512"), _digest("sha512")),
}
"""Schemes whose values are octets, in base64 or hex whatever the prefix says."""

_CHECKS: Final[dict[str, Callable[[str, str], bool]]] = {
    **dict.fromkeys(
        (
            "CRYPT",
            "DES-CRYPT",
            "MD5-CRYPT",
            "SHA256-CRYPT",
            "SHA512-CRYPT",
            "BLF-CRYPT",
            "BCRYPT",
            "YESCRYPT",
        ),
        _crypt,
    ),
    **dict.fromkeys(("ARGON2", "ARGON2I", "ARGON2D", "ARGON2ID"), _argon2),
    **dict.fromkeys(("PLAIN", "CLEARTEXT", "CLEAR"), _plain),
    **_OCTETS,
    "PBKDF2": _any_pbkdf2,
    "PBKDF2-SHA1": _pbkdf2_sha1,
    "PBKDF2-SHA256": _pbkdf2("sha256"),
    "PBKDF2-SHA512": _pbkdf2("sha512"),
    "SCRAM-SHA-1": _scram("sha1"),
    "SCRAM-SHA-256": _scram("sha256"),
}


class HashThreads:
    """A few threads that check passwords, and a bound on what waits for them."""

    def __init__(
        self, reactor: IReactorFromThreads, threads: int, most_waiting: int = 200
    ) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, name="hash")
        self._most = most_waiting
        self._waiting = 0

    def start(self) -> None:
        """Start the pool."""
        self._pool.start()

    def stop(self) -> None:
        """End it when what it does is done. Blocks for that long."""
        self._pool.stop()

    async def verify(self, stored: str, password: str) -> bool:
        """As `verify`, in a thread.

        Raises:
            UnknownScheme: as `verify`.
            DirectoryUnavailable: too many checks are waiting.
        """
        if self._waiting >= self._most:
            raise DirectoryUnavailable("too many passwords are waiting to be checked")
        self._waiting += 1
        checking: Deferred[bool] = Deferred()

        def work() -> bool:
            # Nobody waits any more: its time was over before its turn.
            return False if checking.called else verify(stored, password)

        def done(_: bool, result: bool | Failure) -> None:
            self._reactor.callFromThread(self._done, checking, result)

        self._pool.callInThreadWithCallback(done, work)
        return await checking

    def _done(self, checking: Deferred[bool], result: bool | Failure) -> None:
        # Counted until the thread is free, even where nobody waited so long.
        self._waiting -= 1
        if isinstance(result, Failure):
            checking.errback(result)
        else:
            checking.callback(result)
