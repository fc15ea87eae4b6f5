import pytest

from submitd.mail.address import (
    MAX_DOMAIN,
    MAX_MAILBOX,
    BadAddress,
    Mailbox,
    parse_domain,
    parse_mailbox,
)


@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("localhost", "localhost"),
        ("my_host.example.org", "my_host.example.org"),
        ("3com.example", "3com.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.org", "example.org"),
        ("bücher\u3002example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
    ],
)
def test_a_domain_has_one_canonical_form(written: str, canonical: str) -> None:
    """RFC 5890 section 2.3.2.1: or one domain would be two for a policy."""
    assert parse_domain(written) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "example.org.",
        ".example.org",
        "example..org",
        "-example.org",
        "example-.org",
        "_example.org",
        "exa mple.org",
        "exa\x00mple.org",
        "exam/ple.org",
        "example.org\n",
        "a" * 64 + ".org",
        "bücher.example.",
        "bücher..example",
        "\u00ad.example",
        "b\u2028ücher.example",
        "b\udcffcher.example",
        "b\u202eücher.example",
    ],
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match=r"not an? (internationalized )?domain name"):
        parse_domain(text)


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize("text", ["192.0.2.1", "127.1", "example.123"])
def test_a_number_is_no_top_level_domain(text: str) -> None:
    """RFC 3696 section 2. It is an address without its brackets."""
    with pytest.raises(BadAddress, match="square brackets"):
        parse_domain(text)


@pytest.mark.rfc("5321", "4.5.3.1.2")
def test_a_domain_is_as_long_as_the_dns_allows() -> None:
    """RFC 1035 section 2.3.4: 255 octets there are 253 characters here."""
    label = "a" * 63
    longest = f"{label}.{label}.{label}.{'a' * 61}"

    assert len(longest) == MAX_DOMAIN
    assert parse_domain(longest) == longest
    with pytest.raises(BadAddress, match="too long"):
        parse_domain(longest + "a")
    with pytest.raises(BadAddress, match="too long"):
        parse_domain("ü" * 100_000 + ".example")


def test_a_domain_is_as_long_as_its_a_labels() -> None:
    """Few characters beyond ASCII can make a long name."""
    label = "ü1" * 12

    with pytest.raises(BadAddress, match="domain name"):
        parse_domain(".".join([label] * 10))


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("[ipv6:2001:0DB8:0:0::0:1]", "[IPv6:2001:db8::1]"),
    ],
)
def test_an_address_literal_has_one_canonical_form(
    written: str, canonical: str
) -> None:
    assert parse_domain(written) == canonical


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[]",
        "[192.0.2.1",
        "[192.0.2.1]x",
        "[192.0.2.01]",
        "[192.0.2]",
        "[2001:db8::1]",
        "[IPv6:]",
        "[IPv6:192.0.2.1]",
        "[IPv6:fe80::1%eth0]",
        "[IPv6:2001:db8::/32]",
        "[tag:content]",
        "[\u0661\u0669\u0662.0.2.1]",
    ],
)
def test_what_is_no_address_literal_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match="not an address literal"):
        parse_domain(text)


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("alice@example.org", "alice", "example.org"),
        ("Alice@EXAMPLE.org", "Alice", "example.org"),
        ("a.b+c@example.org", "a.b+c", "example.org"),
        ("!#$%&'*+-/=?^_`{|}~@example.org", "!#$%&'*+-/=?^_`{|}~", "example.org"),
        ('"john smith"@example.org', "john smith", "example.org"),
        ('"a@b"@example.org', "a@b", "example.org"),
        (r'"say \"hi\" \\o/"@example.org', r'say "hi" \o/', "example.org"),
        ('"alice"@example.org', "alice", "example.org"),
        ('""@example.org', "", "example.org"),
        ("alice@[192.0.2.1]", "alice", "[192.0.2.1]"),
        ("ålice@example.org", "ålice", "example.org"),
        ('"å b"@bücher.example', "å b", "xn--bcher-kva.example"),
    ],
)
def test_a_mailbox_is_read(text: str, local_part: str, domain: str) -> None:
    assert parse_mailbox(text) == Mailbox(local_part, domain)


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    "text",
    [
        "@example.org",
        ".alice@example.org",
        "alice.@example.org",
        "a..b@example.org",
        "a b@example.org",
        "a@b@example.org",
        "a,b@example.org",
        "<alice@example.org>",
        "al\x00ice@example.org",
        "alice\n@example.org",
        '"alice@example.org',
        '"al"ice@example.org',
        '"al\x00ice"@example.org',
        '"al\\\x07ice"@example.org',
        "al\x85ice@example.org",
        "al\u2028ice@example.org",
        '"al\u2029ice"@example.org',
        "al\ud800ice@example.org",
    ],
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    """Control characters too: shown raw, they end lines elsewhere."""
    with pytest.raises(BadAddress, match="not a mailbox"):
        parse_mailbox(text)


@pytest.mark.parametrize("text", ["", "alice", '"alice"', "alice.example.org"])
def test_a_mailbox_has_a_domain(text: str) -> None:
    with pytest.raises(BadAddress, match="there is no domain"):
        parse_mailbox(text)


@pytest.mark.rfc("5321", "4.5.3.1.1")
def test_a_local_part_may_be_longer_than_all_must_take() -> None:
    """VERP and SRS need more than 64 octets; all together has a bound."""
    domain = "@example.org"
    fits = "a" * (MAX_MAILBOX - len(domain)) + domain

    assert str(parse_mailbox(fits)) == fits
    with pytest.raises(BadAddress, match="too long"):
        parse_mailbox("a" + fits)
    with pytest.raises(BadAddress, match="too long"):
        parse_mailbox("å" * 160 + domain)


@pytest.mark.parametrize(
    "text",
    ["alice@example.org", '"john smith"@example.org', r'"a\"b\\c"@example.org'],
)
def test_a_mailbox_is_written_as_it_can_be_read(text: str) -> None:
    assert str(parse_mailbox(text)) == text


def test_only_a_local_part_needs_smtputf8() -> None:
    """RFC 6531 section 3.2: a domain can always go as A-labels."""
    assert parse_mailbox("alice@bücher.example").is_ascii
    assert not parse_mailbox("ålice@example.org").is_ascii


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice@example.org", "alice@EXAMPLE.org"),
        ("ÅLICE@example.org", "ålice@example.org"),
        ("\u00e5lice@example.org", "a\u030alice@example.org"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ('"alice"@example.org', "alice@example.org"),
    ],
)
def test_case_and_composition_make_no_other_person(one: str, other: str) -> None:
    """RFC 6532 section 3.1, and caseIgnoreIA5Match of directories."""
    assert parse_mailbox(one).key == parse_mailbox(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("strasse@example.org", "straße@example.org"),
        ("alice@example.org", "alice@example.com"),
        ("alice@example.org", "\u0430lice@example.org"),
        ("file@example.org", "\ufb01le@example.org"),
    ],
)
def test_what_only_looks_alike_is_another_person(one: str, other: str) -> None:
    assert parse_mailbox(one).key != parse_mailbox(other).key
