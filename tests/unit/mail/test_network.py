import pytest

from submitd.mail.network import counted_as, neighbourhood


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_host_is_counted_once_whichever_of_its_addresses_it_takes(
    address: str, key: str
) -> None:
    assert counted_as(address) == key


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_a_neighbourhood_is_what_is_given_to_one_owner(
    address: str, network: str
) -> None:
    assert neighbourhood(address) == network
