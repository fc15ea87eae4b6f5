"""Everything that the configuration names and that lives in files.

Loaded once for a check, for a start and for a reload: what cannot be loaded
stops all three, with file, key, value and what would be right.
"""

import os
import socket
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from OpenSSL import SSL

from submitd.config.errors import ConfigErrors, ConfigProblem
from submitd.config.reader import Source
from submitd.config.sections import Config
from submitd.config.sending import DkimDomainSection
from submitd.dkim.canonical import Canon
from submitd.dkim.key import BadSelector, PrivateKey, UnusableKey, expand_selector
from submitd.dkim.sign import Signer, SigningKey
from submitd.mail.address import BadAddress, parse_domain
from submitd.process.order import Order, certificate_file
from submitd.tls.client import load_trust
from submitd.tls.server import MODERN_CIPHERS, TlsFiles, UnusableCertificate

_CREDENTIAL: Final = "credential:"
_OF_THE_UNIT: Final = "/run/credentials/submitd.service"
"""While the unit runs they can be looked at from outside, too."""


@frozen(kw_only=True)
class Material:
    """What was found."""

    hostname: str
    tls_files: TlsFiles | None
    tls_context: SSL.Context | None = field(repr=False)
    tls_state: object
    """Of the files when they were read: what comes later is a change."""

    signers: Mapping[str, Signer]
    """By From domain; ``*.example.org`` for subdomains."""

    ldap_password: str = field(repr=False)
    ldap_trust: Any = field(repr=False)
    oauth_secret: str = field(repr=False)
    oauth_trust: Any = field(repr=False)
    route_passwords: Mapping[str, str] = field(repr=False)
    route_trust: Mapping[str, Any] = field(repr=False)
    order: Order | None
    """For an authority; None: the certificate is in files of the operator's."""


def own_hostname(config: Config) -> str:
    """The configured name, or what the system calls itself; a full name."""
    return config.server.hostname or socket.getfqdn().lower()


def tls_files_of(config: Config) -> TlsFiles | None:
    """Where certificate and key are; None: none is configured."""
    tls = config.tls
    certificate, key = tls.certificate, tls.key
    if tls.acme:
        certificate = key = certificate_file(_acme_folder(config))
    if certificate is None or key is None:
        return None
    return TlsFiles(
        certificate=certificate,
        key=key,
        minimum=tls.minimum,
        ciphers=tls.ciphers or MODERN_CIPHERS,
        client_ca=tls.client_ca_file,
    )


def _acme_folder(config: Config) -> Path:
    return config.server.state_directory / "acme"


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
        oauth = config.log_in.oauth
        oauth_secret = self._secret(
            "[log_in.oauth] client_secret_file", oauth.client_secret_file
        )
        oauth_trust = self._trust("[log_in.oauth] ca_file", oauth.ca_file)
        state = None if files is None else _state_of(files)
        material = Material(
            hostname=hostname,
            tls_files=files,
            tls_state=state,
            tls_context=self._context(files),
            signers=signers,
            ldap_password=password,
            ldap_trust=ldap_trust,
            oauth_secret=oauth_secret,
            oauth_trust=oauth_trust,
            route_passwords=passwords,
            route_trust=trust,
            order=self._order(hostname) if config.tls.acme else None,
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

    def _context(self, files: TlsFiles | None) -> SSL.Context | None:
        acme = self._config.tls.acme
        if files is None or (acme and not _is_there(files.certificate)):
            return None  # who starts the server has one made
        try:
            return files.load()
        except UnusableCertificate as problem:
            words = str(problem)
            if files.client_ca and words.startswith(f"{files.client_ca}:"):
                key = "[tls] client_ca_file"
                self._problem(key, str(files.client_ca), words)
                return None
            if acme:
                right = f"{words}; without the file, a new one is ordered"
                self._problem("[tls] acme", True, right)
                return None
            key = "key" if words.startswith(str(files.key)) else "certificate"
            self._problem(f"[tls] {key}", str(getattr(files, key)), words)
            return None

    def _order(self, hostname: str) -> Order:
        acme, dns = self._config.acme, self._config.acme.dns
        account_key = self._secret("[acme] account_key_file", acme.account_key_file)
        update = None
        if acme.challenge == "dns-01" and dns.server is not None:
            secret = self._secret("[acme.dns] key_file", dns.key_file)
            if dns.key_file and not _is_base64(secret):
                self._problem("[acme.dns] key_file", dns.key_file, "is not base64")
            update = {
                "address": dns.server[0],
                "port": dns.server[1],
                "zone": dns.zone,
                "key_name": dns.key_name,
                "key_algorithm": dns.key_algorithm,
                "key_secret": secret,
            }
        if acme.ca_file is not None:
            self._trust("[acme] ca_file", acme.ca_file)
        return Order(
            folder=str(_acme_folder(self._config)),
            names=acme.names or (hostname,),
            authority=acme.authority,
            ca_file=str(acme.ca_file or ""),
            contact=acme.contact,
            challenge=acme.challenge,
            key=acme.key,
            profile=acme.profile,
            account_id=acme.account_id,
            account_key=account_key,
            webroot=str(acme.webroot or ""),
            dns=update,
            settle=dns.settle.total_seconds(),
        )

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


def _is_there(file: Path) -> bool:
    """Whether there is such a file; who may not look into its folder cannot tell."""
    try:
        return file.exists()
    except PermissionError:
        return False


def _state_of(files: TlsFiles) -> object:
    try:
        return files.state()
    except OSError:
        return None  # to read them fails, too, and says why


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except ValueError:
        return False


def secret_path(where: str, folder: Path) -> Path:
    """A path relative to the configuration, or a systemd credential's."""
    if where.startswith(_CREDENTIAL):
        directory = os.environ.get("CREDENTIALS_DIRECTORY", _OF_THE_UNIT)
        return Path(directory) / where.removeprefix(_CREDENTIAL)
    return folder / where
