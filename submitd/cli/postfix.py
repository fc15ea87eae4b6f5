"""What the files of a Postfix, a Dovecot and an OpenDKIM say, as they stand.

Readers only: what it means for submitd is `importing`'s to say. Nothing of the
three has to be installed, so that a copy of a configuration can be read anywhere.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

_REFERENCE: Final = re.compile(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))")
_MOST_DEEP: Final = 20
"""References within references."""

_TRUE: Final = frozenset({"yes", "true"})


class Unreadable(Exception):
    """A file that is needed cannot be read; the message names it."""


@frozen
class Root:
    """Where the files of the host stand: "/", or a copy of it."""

    folder: Path

    def find(self, name: str | Path) -> Path:
        """The file behind an absolute name."""
        return self.folder / str(name).lstrip("/")

    def text(self, name: str | Path) -> str:
        """Its text. Blocks. Raises Unreadable."""
        path = self.find(name)
        try:
            return path.read_text("utf-8", "replace")
        except OSError as problem:
            raise Unreadable(f"{path}: {problem.strerror}") from problem


# Postfix


@frozen
class Service:
    """One line of master.cf."""

    name: str
    """"smtp", "submission", a port, or "address:port"."""

    is_inet: bool
    command: str
    options: dict[str, str]
    asked: set[str] = field(factory=set)
    """Options that somebody has asked for."""


@define
class Postfix:
    """main.cf and master.cf of one folder."""

    folder: Path
    parameters: dict[str, str]
    services: list[Service]
    asked: set[str] = field(factory=set)
    """Parameters that somebody has asked for."""

    def get(self, name: str, service: Service | None = None, default: str = "") -> str:
        """A parameter's value, with what it refers to."""
        self.asked.add(name)
        if service is not None and name in service.options:
            service.asked.add(name)
            return self._expanded(service.options[name])
        return self._expanded(self.parameters.get(name, default))

    def words(self, name: str, service: Service | None = None) -> list[str]:
        """A value that is a list."""
        return self.get(name, service).replace(",", " ").split()

    def is_on(self, name: str, service: Service | None = None) -> bool:
        """A value that is "yes" or "no"."""
        return self.get(name, service).lower() in _TRUE

    def _expanded(self, value: str, depth: int = 0) -> str:
        if depth == _MOST_DEEP:
            return value

        def known(match: re.Match[str]) -> str:
            name = match[1] or match[2] or match[3]
            found = self.parameters.get(name, self._defaults.get(name))
            return match[0] if found is None else self._expanded(found, depth + 1)

        return _REFERENCE.sub(known, value)

    @property
    def _defaults(self) -> dict[str, str]:
        """What others refer to though nobody has set it."""
        return {"config_directory": str(self.folder), "mydomain": self.domain}

    @property
    def domain(self) -> str:
        """mydomain; where it is not set, myhostname without its first label."""
        if "mydomain" in self.parameters:
            return self.get("mydomain")
        host = self.parameters.get("myhostname", "")
        _, dot, parent = host.partition(".")
        return parent if "." in parent else host if dot else ""


def read_postfix(folder: Path, root: Root) -> Postfix:
    """Blocks. Raises Unreadable where there is no main.cf."""
    parameters: dict[str, str] = {}
    for line in _logical_lines(root.text(folder / "main.cf")):
        name, equals, value = line.partition("=")
        if equals:
            parameters[name.strip()] = value.strip()
    services: list[Service] = []
    if root.find(folder / "master.cf").exists():
        text = root.text(folder / "master.cf")
        services += map(_service, _logical_lines(text))
    return Postfix(folder, parameters, services)


def _logical_lines(text: str) -> Iterator[str]:
    """Without comments; a line that begins with white space continues another."""
    whole = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            whole = f"{whole} {line.strip()}"
            continue
        if whole:
            yield whole
        whole = line.strip()
    if whole:
        yield whole


def _service(line: str) -> Service:
    name, kind, *rest = line.split(None, 7)
    command = rest[-1] if len(rest) > 5 else ""
    options = {}
    for braced, bare in re.findall(r"-o\s+(?:\{([^}]*)\}|(\S+))", command):
        key, _, value = (braced or bare).partition("=")
        options[key.strip()] = value.strip()
    return Service(name, kind == "inet", command.partition(" ")[0], options)


def read_table(name: str, root: Root) -> dict[str, str] | None:
    """A lookup table's text: key and value. None: it is of no kind that has one.

    Blocks. Raises Unreadable.
    """
    kind, colon, path = name.removeprefix("proxy:").partition(":")
    if not colon or kind not in {"hash", "btree", "lmdb", "cdb", "texthash", "regexp"}:
        return None
    entries: dict[str, str] = {}
    for line in _logical_lines(root.text(path)):
        key, _, value = line.partition(" ") if " " in line else line.partition("\t")
        entries[key.strip()] = value.strip()
    return entries


def read_settings(name: str | Path, root: Root) -> dict[str, str]:
    """``name = value`` a line: LDAP tables of Postfix and of Dovecot.

    Blocks. Raises Unreadable.
    """
    found: dict[str, str] = {}
    for line in _logical_lines(root.text(name)):
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip()] = value.strip()
    return found


# Dovecot


@define
class PasswordSource:
    """One passdb."""

    driver: str = ""
    settings: dict[str, str] = field(factory=dict)


def read_dovecot(folder: Path, root: Root) -> list[PasswordSource]:
    """The passdbs, in their order. Blocks. Raises Unreadable."""
    sources: list[PasswordSource] = []
    depth = 0
    for line in _included(folder / "dovecot.conf", root, 0):
        opened = re.match(r"passdb\b\s*([\w-]*)\s*\{", line)
        if opened and not depth:
            sources.append(PasswordSource(opened[1]))
            depth = 1
        elif depth:
            depth += line.count("{") - line.count("}")
            name, equals, value = line.partition("=")
            if equals and name.strip() == "driver":
                sources[-1].driver = value.strip()
            elif equals:
                sources[-1].settings[name.strip()] = value.strip()
    return sources


def dovecot_mechanisms(folder: Path, root: Root) -> list[str]:
    """The ways to log in that Dovecot offers, in capitals; empty: it does not say.

    Blocks. Raises Unreadable.
    """
    found: list[str] = []
    for line in _included(folder / "dovecot.conf", root, 0):
        name, _, value = line.partition("=")
        if name.strip() == "auth_mechanisms":
            found = value.replace(",", " ").upper().split()
    return found


def _included(name: Path, root: Root, depth: int) -> Iterator[str]:
    for raw in root.text(name).splitlines():
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        include = re.match(r"!include(_try)?\s+(\S+)", line)
        if include is None:
            yield line
        elif depth < _MOST_DEEP:
            pattern = str(name.parent / include[2]).lstrip("/")
            for found in sorted(root.folder.glob(pattern)):
                yield from _included(
                    Path("/") / found.relative_to(root.folder), root, depth + 1
                )


# OpenDKIM


@frozen
class SigningKey:
    """A key, and the From domain that it signs for."""

    domain: str
    """"example.org", or "*.example.org"."""

    signing_domain: str
    selector: str
    file: str


@frozen
class OpenDkim:
    """What an OpenDKIM signs."""

    keys: tuple[SigningKey, ...]
    canonicalization: str
    not_understood: tuple[str, ...]
    """Lines of its tables."""

    others: dict[str, str]
    """Settings that say neither."""


def read_opendkim(name: Path, root: Root) -> OpenDkim:
    """Blocks. Raises Unreadable."""
    settings: dict[str, str] = {}
    for line in root.text(name).splitlines():
        words = line.partition("#")[0].split(None, 1)
        if len(words) == 2:
            settings[words[0].lower()] = words[1].strip()
    keys: list[SigningKey] = []
    odd: list[str] = []
    file = settings.pop("keyfile", "")
    selector = settings.pop("selector", "default")
    domains = settings.pop("domain", "").replace(",", " ").split()
    if file:
        keys += [SigningKey(one, one, selector, file) for one in domains]
    if file and settings.pop("subdomains", "").lower() in _TRUE:
        keys += [SigningKey(f"*.{one}", one, selector, file) for one in domains]
    named: dict[str, list[str]] = {}
    for line in _dataset(settings.pop("keytable", ""), root):
        words = line.split(None, 1)
        named[words[0]] = words[-1].split(":", 2)
    for line in _dataset(settings.pop("signingtable", ""), root):
        pattern, _, key = line.partition(" ")
        domain = pattern.rpartition("@")[2]
        facts = named.get(key.strip(), [])
        whole = pattern.partition("@")[0] in {"*", domain}
        if len(facts) != 3 or not whole or "*" in domain.removeprefix("*."):
            odd.append(line)
            continue
        signing, selector, file = facts
        if signing == "%":
            signing = domain.removeprefix("*.")
        keys.append(SigningKey(domain, signing, selector, file))
    return OpenDkim(
        tuple(keys),
        settings.pop("canonicalization", "simple/simple"),
        tuple(odd),
        settings,
    )


def _dataset(name: str, root: Root) -> Iterator[str]:
    kind, colon, path = name.partition(":")
    if colon and kind not in {"file", "refile"}:
        yield name
        return
    if not name:
        return
    for line in root.text(path if colon else name).splitlines():
        if text := " ".join(line.partition("#")[0].split()):
            yield text
