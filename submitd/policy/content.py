"""Whose name does the message carry? (RFC 5322 section 3.6.2)

Readers of mail disagree on odd From fields; what one of them shows as an
address, another takes for a comment. So the reading here is strict: one
field, mailboxes only, no obsolete syntax, and what cannot be read is refused.
"""

import base64
import encodings
import pkgutil
import quopri
import re
from encodings.aliases import aliases
from typing import Final
from unicodedata import category

from attrs import frozen

from submitd.auth.submitter import Exactly, Submitter
from submitd.mail.address import BadAddress, Mailbox, parse_mailbox
from submitd.mail.message import HeaderSection
from submitd.mail.status import EnhancedCode
from submitd.policy.sender import not_theirs
from submitd.smtp.reply import Reply

CONTENT_OK: Final = Reply(250, EnhancedCode(2, 6, 0), "Content accepted")
_MALFORMED: Final = EnhancedCode(5, 6, 0)
_ATOMS: Final = re.compile(r'[^ \t()<>\[\]:;@\\,"]+')
_MISLEADING: Final = frozenset('<>@,;:"()\\ ')
_ESCAPED: Final = re.compile(r"\\(.)")
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s]*)\?([bBqQ])\?([^?]*)\?=")
_CHARSETS: Final = (
    {module.name for module in pkgutil.iter_modules(encodings.__path__)}
    | aliases.keys()
) - {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
"""What may be a charset, as Python writes it: some of its codecs are none, and take
time in the square of what they decode. Those that have no text, it refuses itself."""

MOST_AUTHORS: Final = 50


class UnreadableAddresses(ValueError):
    """The field is no plain list of mailboxes. The message says why."""


@frozen
class Authors:
    """The mailboxes that From names, Sender's, and who is said to have resent it."""

    authors: tuple[Mailbox, ...]
    sender: Mailbox | None
    resenders: tuple[Mailbox, ...] = ()

    @property
    def all(self) -> tuple[Mailbox, ...]:
        """Every mailbox that the message speaks for."""
        sender = (self.sender,) if self.sender else ()
        return (*self.authors, *sender, *self.resenders)


def read_authors(section: HeaderSection, *, smtputf8: bool) -> Authors | Reply:
    """Who the message says it is from; the refusal where that is not plain."""
    from_fields, sender_fields = section.get_all("from"), section.get_all("sender")
    if len(from_fields) != 1:
        said = "no From field" if not from_fields else "more than one From field"
        return _refusal(f"The message has {said}; it must have exactly one.")
    if len(sender_fields) > 1:
        return _refusal("The message has more than one Sender field.")
    try:
        authors = read_mailboxes(from_fields[0].value, smtputf8=smtputf8)
    except UnreadableAddresses as problem:
        return _refusal(f"The From field cannot be read: {problem}.")
    resenders: list[Mailbox] = []
    for name in ("Resent-From", "Resent-Sender"):
        for one in section.get_all(name.lower()):
            try:
                resenders += read_mailboxes(one.value, smtputf8=smtputf8)
            except UnreadableAddresses as problem:
                return _refusal(f"A {name} field cannot be read: {problem}.")
    if not sender_fields:
        return Authors(authors, None, tuple(resenders))
    try:
        (sender,) = read_mailboxes(sender_fields[0].value, smtputf8=smtputf8)
    except UnreadableAddresses as problem:
        return _refusal(f"The Sender field cannot be read: {problem}.")
    except ValueError:
        return _refusal("The Sender field must name exactly one mailbox.")
    return Authors(authors, sender, tuple(resenders))


def check_content(who: Submitter, authors: Authors, *, utf8: bool = False) -> Reply:
    """Every mailbox in From, and the Sender's, must be the submitter's."""
    for mailbox in authors.all:
        permission = who.permission_for(mailbox)
        if permission is None:
            return not_theirs(550, who, mailbox, utf8=utf8)
        if _is_misleading(mailbox) and not isinstance(permission.grant, Exactly):
            return _refusal(
                "The local part of an author's address looks like another address."
            )
    return CONTENT_OK


def _is_misleading(mailbox: Mailbox) -> bool:
    """Some mail programs would show a part of it as the address."""
    name = mailbox.local_part
    return "=?" in name or not _MISLEADING.isdisjoint(name)


def _refusal(sentence: str) -> Reply:
    return Reply(550, _MALFORMED, sentence)


def read_mailboxes(value: bytes, *, smtputf8: bool) -> tuple[Mailbox, ...]:
    """The mailboxes of an unfolded mailbox-list (RFC 5322 section 3.4).

    Raises:
        UnreadableAddresses: groups, source routes, obsolete syntax, control
            octets, non-ASCII without SMTPUTF8, or no mailbox at all.
    """
    try:
        text = value.decode("utf-8" if smtputf8 else "ascii")
    except UnicodeDecodeError:
        raise UnreadableAddresses(
            "it is not UTF-8"
            if smtputf8
            else "it is not ASCII, and SMTPUTF8 was not given"
        ) from None
    if not text.replace("\t", " ").isprintable():
        raise UnreadableAddresses("it holds control or invisible characters")
    _check_encoded_words(text)
    if "\\" in text:
        # It may part a word that is whole where the name is shown.
        _check_encoded_words(_ESCAPED.sub(r"\1", text))
    return _List(text).read()


def _check_encoded_words(text: str) -> None:
    """Refuse what decodes to control characters: a reader that stops at a NUL
    shows only what stands before it, as though it were the address.
    """
    for charset, how, encoded in _ENCODED_WORD.findall(text):
        try:
            if how in "bB":
                octets = base64.b64decode(encoded + "==")
            else:
                octets = quopri.decodestring(encoded, header=True)
            decoded = octets.decode(_codec(charset.partition("*")[0]), "replace")
        except (ValueError, LookupError):
            raise UnreadableAddresses("it holds a malformed encoded word") from None
        if any(category(one) in ("Cc", "Cf") for one in decoded):
            raise UnreadableAddresses("an encoded word hides control characters")


def _codec(charset: str) -> str:
    """Python's name for it. (Each name that it is asked for, it keeps for ever.)"""
    name = encodings.normalize_encoding(charset).lower()
    if name not in _CHARSETS:
        raise LookupError
    return name


class _List:
    """A cursor over one address list; every step is forward, so it ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> tuple[Mailbox, ...]:
        mailboxes = [self._mailbox()]
        while self._peek() == ",":
            if len(mailboxes) >= MOST_AUTHORS:
                raise UnreadableAddresses("it names too many mailboxes")
            self._at += 1
            mailboxes.append(self._mailbox())
        if self._peek():
            raise UnreadableAddresses(_unexpected(self._peek()))
        return tuple(mailboxes)

    def _mailbox(self) -> Mailbox:
        """``phrase <addr-spec>`` or a bare ``addr-spec``."""
        self._skip_comments()
        start = end = self._at
        words = 0
        while (here := self._peek()) and here not in "<,;:@[])>\\":
            # A phrase: quoted strings and atoms. "." alone is obsolete, but
            # "John Q. Public" is what people are called (RFC 5322 4.1).
            self._word()
            words += 1
            end = self._at
            self._skip_comments()
        here = self._peek()
        if here == "<":
            self._at += 1
            return self._angle()
        if here == "@" and words == 1:
            if self._at != end:
                raise UnreadableAddresses("there is white space around an @")
            self._at += 1
            self._domain()
            mailbox = _parsed(self._text[start : self._at])
            self._skip_comments()
            return mailbox
        if here == ":":
            raise UnreadableAddresses("it holds a group; name mailboxes only")
        raise UnreadableAddresses(
            _unexpected(here) if here else "there is no mailbox in it"
        )

    def _angle(self) -> Mailbox:
        start = self._at
        if self._peek() == "@":
            raise UnreadableAddresses("it holds a source route")
        if self._peek() in ("", " ", "\t", ">", "("):
            raise UnreadableAddresses("there is no mailbox between < and >")
        self._word()
        if self._peek() != "@":
            raise UnreadableAddresses("there is no mailbox between < and >")
        self._at += 1
        self._domain()
        if self._peek() != ">":
            raise UnreadableAddresses("a > is missing")
        mailbox = _parsed(self._text[start : self._at])
        self._at += 1
        self._skip_comments()
        return mailbox

    def _word(self) -> None:
        """A quoted string, or a run of atoms and dots."""
        if self._peek() == '"':
            self._quoted('"')
            return
        atoms = _ATOMS.match(self._text, self._at)
        if atoms is None:
            raise UnreadableAddresses(_unexpected(self._peek()))
        self._at = atoms.end()

    def _domain(self) -> None:
        if self._peek() == "[":
            while self._peek() not in ("]", "", " ", "\t"):
                self._at += 1
            self._at += 1
        else:
            self._word()

    def _skip_comments(self) -> None:
        while (here := self._peek()) in (" ", "\t", "("):
            if here == "(":
                self._comment()
            else:
                self._at += 1

    def _comment(self) -> None:
        """Nested comments, counted and not recursed into."""
        depth = 0
        while here := self._peek():
            self._at += 1
            if here == "\\":
                self._at += 1
            elif here == "(":
                depth += 1
            elif here == ")":
                depth -= 1
                if depth == 0:
                    return
        raise UnreadableAddresses("a comment does not end")

    def _quoted(self, end: str) -> None:
        self._at += 1
        while here := self._peek():
            self._at += 1
            if here == "\\":
                self._at += 1
            elif here == end:
                return
        raise UnreadableAddresses("a quoted string does not end")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]


def _parsed(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except BadAddress as problem:
        raise UnreadableAddresses(str(problem)) from problem


def _unexpected(character: str) -> str:
    if not character:
        return "it ends too early"
    plain = character.isascii() and character.isprintable()
    shown = character if plain else f"U+{ord(character):04X}"
    return f'there is an unexpected "{shown}"'
