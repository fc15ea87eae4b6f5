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
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from submitd.auth.errors import DirectoryUnavailable

_SCHEME: Final = re.compile(
    r"\{([A-Za-z0-9-]+)(?:\.(B64|BASE64|HEX))?\}(.*)", re.IGNORECASE | re.DOTALL
)
_ROUNDS: Final = re.compile(r"\$[56]\$rounds=(\d+)\$")
_BCRYPT: Final = re.compile(r"\$2[abxy]\$(\d\d)\$")
_MOST_ROUNDS: Final = 2_000_000
_MOST_BCRYPT: Final = 15
_MOST_ITERATIONS: Final = 5_000_000
_MOST_MEMORY: Final = 1024 * 1024
"""KiB for one Argon2 hash."""


class UnknownScheme(ValueError):
    """The stored value is in no scheme that we can check, or is malformed."""


def verify(stored: str, password: str) -> bool:
    """True where ``password`` is the one behind ``stored``.

    Raises:
        UnknownScheme: the value cannot be checked, which is not a "no".
    """
    if "\0" in password:
        return False
    if (found := _SCHEME.fullmatch(stored)) is None:
        return _crypt(stored, password)
    name, encoding, value = found[1].upper(), (found[2] or "").upper(), found[3]
    check = _CHECKS.get(name)
    if check is None:
        raise UnknownScheme(f"no such password scheme: {name}")
    if encoding == "HEX":
        try:
            value = base64.b64encode(bytes.fromhex(value)).decode("ascii")
        except ValueError as problem:
            raise UnknownScheme(f"{name}: not hexadecimal") from problem
    return check(value, password)


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
    rounds, bcrypt = _ROUNDS.match(stored), _BCRYPT.match(stored)
    if (rounds and int(rounds[1]) > _MOST_ROUNDS) or (
        bcrypt and int(bcrypt[1]) > _MOST_BCRYPT
    ):
        raise UnknownScheme("a hash that would take minutes to check")
    if not stored.isascii() or len(stored) < 13:
        raise UnknownScheme("not a crypt(3) hash")
    data = getattr(_LOCAL, "data", None)
    if data is None:
        data = _LOCAL.data = ctypes.create_string_buffer(_CRYPT_DATA)
    # ctypes gives the interpreter to others while libcrypt works.
    made = _libcrypt().crypt_r(password.encode(), stored.encode("ascii"), data)
    if not made or made.startswith(b"*"):
        raise UnknownScheme("not a crypt(3) hash that this system knows")
    return hmac.compare_digest(made, stored.encode("ascii"))


def _passlib(name: str, prefix: str) -> Callable[[str, str], bool]:
    scheme: Any = getattr(passlib_hash, name)

    def check(value: str, password: str) -> bool:
        try:
            return bool(scheme.verify(password, prefix + value))
        except (ValueError, TypeError) as problem:
            # The library's words may quote the hash.
            raise UnknownScheme(f"malformed {prefix} value") from problem

    return check


def _salted(digest: str) -> Callable[[str, str], bool]:
    """SSHA and its like: base64 of digest and salt, of any length."""
    size = hashlib.new(digest).digest_size

    def check(value: str, password: str) -> bool:
        try:
            octets = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as problem:
            raise UnknownScheme("a salted hash that is not base64") from problem
        if len(octets) < size:
            raise UnknownScheme("a salted hash that is too short")
        made = hashlib.new(digest, password.encode() + octets[size:]).digest()
        return hmac.compare_digest(made, octets[:size])

    return check


def _argon2(value: str, password: str) -> bool:
    try:
        parameters = argon2.extract_parameters(value)
        if parameters.memory_cost > _MOST_MEMORY or parameters.time_cost > 100:
            raise UnknownScheme("an Argon2 hash that would take too much")
        return argon2.PasswordHasher().verify(value, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.Argon2Error as problem:
        raise UnknownScheme("malformed Argon2 value") from problem
    except argon2.exceptions.InvalidHash as problem:
        raise UnknownScheme("malformed Argon2 value") from problem


def _scram(value: str, password: str) -> bool:
    """``iterations,salt,stored key,server key`` (RFC 5803's facts, Dovecot's form)."""
    try:
        iterations, salt, stored_key, _ = value.split(",")
        rounds, salted = int(iterations), base64.b64decode(salt, validate=True)
        wanted = base64.b64decode(stored_key, validate=True)
    except (ValueError, binascii.Error) as problem:
        raise UnknownScheme("malformed SCRAM-SHA-256 value") from problem
    if not 0 < rounds <= _MOST_ITERATIONS:
        raise UnknownScheme("a SCRAM value that would take too long")
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salted, rounds)
    client = hmac.new(key, b"Client Key", "sha256").digest()
    return hmac.compare_digest(hashlib.sha256(client).digest(), wanted)


def _dovecot_pbkdf2(value: str, password: str) -> bool:
    """Dovecot's ``$1$salt$rounds$hex``, which is SHA-1."""
    try:
        _, one, salt, rounds, digest = value.split("$")
        iterations = int(rounds)
        wanted = bytes.fromhex(digest)
    except ValueError as problem:
        raise UnknownScheme("malformed PBKDF2 value") from problem
    if one != "1" or not 0 < iterations <= _MOST_ITERATIONS:
        raise UnknownScheme("malformed PBKDF2 value")
    made = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), iterations)
    return hmac.compare_digest(made, wanted)


def _plain(value: str, password: str) -> bool:
    return hmac.compare_digest(value.encode(), password.encode())


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
    "SMD5": _salted("md5"),
    "SSHA": _salted("sha1"),
    "SSHA256": _salted("sha256"),
    "SSHA512": _salted("sha512"),
    "LDAP-MD5": _salted("md5"),
    "MD5": _passlib("ldap_md5", "{MD5}"),
    "SHA": _salted("sha1"),
    "SHA1": _salted("sha1"),
    "SHA256": _salted("sha256"),
    "SHA512": _salted("sha512"),
    "PBKDF2": _dovecot_pbkdf2,
    "PBKDF2-SHA1": _passlib("ldap_pbkdf2_sha1", "{PBKDF2}"),
    "PBKDF2-SHA256": _passlib("ldap_pbkdf2_sha256", "{PBKDF2-SHA256}"),
    "PBKDF2-SHA512": _passlib("ldap_pbkdf2_sha512", "{PBKDF2-SHA512}"),
    "SCRAM-SHA-256": _scram,
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
        checking: Deferred[bool] = deferToThreadPool(
            self._reactor, self._pool, verify, stored, password
        )
        try:
            return await checking
        finally:
            self._waiting -= 1
