"""Everything that the configuration names and that lives in files.

Loaded once for a check, for a start and for a reload: what cannot be loaded
stops all three, with file, key, value and what would be right.
"""

import os
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from OpenSSL import SSL

from submitd.config.errors import ConfigErrors, ConfigProblem
from submitd.config.reader import Source
from submitd.config.sections import Config, DkimDomainSection
from submitd.dkim.canonical import Canon
from submitd.dkim.key import BadSelector, PrivateKey, UnusableKey, expand_selector
from submitd.dkim.sign import Signer, SigningKey
from submitd.mail.address import BadAddress, parse_domain
from submitd.tls.client import load_trust
from submitd.tls.server import MODERN_CIPHERS, TlsFiles, UnusableCertificate

_CREDENTIAL: Final = "credential:"


@frozen(kw_only=True)
class Material:
    """What was found."""

    hostname: str
    tls_files: TlsFiles | None
    tls_context: SSL.Context | None = field(repr=False)
    signers: Mapping[str, Signer]
    """By From domain; ``*.example.org`` for subdomains."""

    ldap_password: str = field(repr=False)
    ldap_trust: Any = field(repr=False)
    route_passwords: Mapping[str, str] = field(repr=False)
    route_trust: Mapping[str, Any] = field(repr=False)


def own_hostname(config: Config) -> str:
    """The configured name, or what the system calls itself; a full name."""
    return config.server.hostname or socket.getfqdn().lower()


def tls_files_of(config: Config) -> TlsFiles | None:
    """Where certificate and key are; None: none is configured."""
    tls = config.tls
    if tls.certificate is None or tls.key is None:
        return None
    return TlsFiles(
        certificate=tls.certificate,
        key=tls.key,
        minimum=tls.minimum,
        ciphers=tls.ciphers or MODERN_CIPHERS,
    )


def load_material(config: Config, source: Source) -> Material:
    """Load all of it. Blocks.

    Raises:
        ConfigErrors: all that cannot be loaded, at once.
    """
    return _Loading(config, source.file).load()


class _Loading:
    def __init__(self, config: Config, file: Path) -> None:
        self._config = config
        self._file = file
        self._problems: list[ConfigProblem] = []

    def load(self) -> Material:
        config = self._config
        hostname = self._hostname()
        files = tls_files_of(config)
        signers = {
            name: signer
            for name, domain in config.dkim.domain.items()
            if (signer := self._signer(name, domain, hostname)) is not None
        }
        password = self._secret(
            "[ldap] bind_password_file", config.ldap.bind_password_file
        )
        passwords = {
            name: self._secret(f'[route."{name}"] password_file', route.password_file)
            for name, route in config.route.items()
        }
        trust = {
            name: self._trust(f'[route."{name}"] ca_file', route.ca_file)
            for name, route in config.route.items()
        }
        ldap_trust = self._trust("[ldap] ca_file", config.ldap.ca_file)
        material = Material(
            hostname=hostname,
            tls_files=files,
            tls_context=None if files is None else self._context(files),
            signers=signers,
            ldap_password=password,
            ldap_trust=ldap_trust,
            route_passwords=passwords,
            route_trust=trust,
        )
        if self._problems:
            raise ConfigErrors(self._problems)
        return material

    def _problem(self, key: str, value: object, right: str) -> None:
        self._problems.append(ConfigProblem(self._file, key, value, right))

    def _hostname(self) -> str:
        name = own_hostname(self._config)
        try:
            return parse_domain(name)
        except BadAddress:
            right = "must be set: the system's own name is not a domain name"
            self._problem("[server] hostname", name, right)
            return "localhost"

    def _context(self, files: TlsFiles) -> SSL.Context | None:
        try:
            return files.load()
        except UnusableCertificate as problem:
            words = str(problem)
            key = "key" if words.startswith(str(files.key)) else "certificate"
            self._problem(f"[tls] {key}", str(getattr(files, key)), words)
            return None

    def _signer(
        self, name: str, section: DkimDomainSection, hostname: str
    ) -> Signer | None:
        where = f'[dkim.domain."{name}"]'
        try:
            domain = parse_domain(section.signing_domain or name.removeprefix("*."))
        except BadAddress as problem:
            self._problem(where, None, f"must name a domain: {problem}")
            return None
        keys = [
            key
            for one in section.keys
            if (key := self._key(where, one.selector, one.file, hostname)) is not None
        ]
        header, _, body = section.canonicalization.partition("/")
        if not keys:
            return None
        try:
            return Signer(
                domain=domain,
                keys=tuple(keys),
                header_canon=Canon(header),
                body_canon=Canon(body),
            )
        except ValueError as problem:
            self._problem(f"{where} keys", None, str(problem))
            return None

    def _key(
        self, where: str, template: str, file: Path, hostname: str
    ) -> SigningKey | None:
        try:
            # <year> is the key's, not today's: a restart in January must not
            # sign under a selector that nobody has published.
            made = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
            selector = expand_selector(template, made, hostname)
            return SigningKey(selector, PrivateKey.load(file.read_bytes()))
        except BadSelector as problem:
            self._problem(f"{where} selector", template, str(problem))
        except OSError as problem:
            right = f"the key cannot be read: {problem.strerror}"
            self._problem(f"{where} file", str(file), right)
        except UnusableKey as problem:
            self._problem(f"{where} file", str(file), f"the file {problem}")
        return None

    def _secret(self, key: str, where: str) -> str:
        if not where:
            return ""
        try:
            secret = secret_path(where, self._file.parent).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "not UTF-8"
            self._problem(key, where, f"the secret cannot be read: {reason}")
            return ""
        if not secret.strip():
            self._problem(key, where, "the file is empty")
        return secret.strip("\r\n")

    def _trust(self, key: str, file: Path | None) -> Any:  # noqa: ANN401
        if file is None:
            return None
        return self._tried(key, file, load_trust)

    def _tried(self, key: str, file: Path, load: Callable[[Path], Any]) -> Any:  # noqa: ANN401
        try:
            return load(file)
        except OSError as problem:
            self._problem(key, str(file), f"cannot be read: {problem.strerror}")
        except ValueError as problem:
            self._problem(key, str(file), str(problem))
        return None


def secret_path(where: str, folder: Path) -> Path:
    """A path relative to the configuration, or a systemd credential's."""
    if where.startswith(_CREDENTIAL):
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(directory) / where.removeprefix(_CREDENTIAL)
    return folder / where
