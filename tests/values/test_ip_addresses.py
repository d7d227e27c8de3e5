"""IP addresses and networks as text: what is one, and what is in what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import ip_addresses
from relay.ip_addresses import is_in, is_loopback_host, network_around, parse_ip, parse_network


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.1:25", "None"),
        ("[2001:db8::1]", "None"),
        ("192.0.2", "None"),
        ("localhost", "None"),
        ("", "None"),
        ("2001:db8::1%" + "e" * 100, "None"),
    ],
)
def test_an_address_is_read_without_zone_and_as_ipv4_where_it_is_one(text: str, address: str) -> None:
    assert str(parse_ip(text)) == address


@given(st.ip_addresses())
def test_every_address_is_read_back_or_is_the_ipv4_address_in_it(address: ip_addresses.IpAddress) -> None:
    mapped = address.ipv4_mapped if address.version == 6 else None
    assert parse_ip(str(address)) == (mapped or address)
    assert is_in(str(address), [network_around(mapped or address)])


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_none(text: str) -> None:
    assert parse_ip(text) is None or parse_ip(str(parse_ip(text))) == parse_ip(text)
    assert isinstance(is_loopback_host(text), bool)


def test_a_mapped_address_is_in_the_network_of_its_ipv4_self() -> None:
    networks = [parse_network("10.1.2.3/8"), parse_network(" 2001:db8::/32 ")]
    inside = ["10.200.0.1", "::ffff:10.200.0.1", "2001:db8:ffff::1%2"]
    outside = ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1", "", "ten"]
    assert [ip for ip in inside + outside if is_in(ip, networks)] == inside


@pytest.mark.parametrize(("ip", "network"), [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48")])
def test_the_network_around_an_address_is_that_of_an_office(ip: str, network: str) -> None:
    address = parse_ip(ip)
    assert address is not None
    assert str(network_around(address)) == network


def test_this_machine_is_known_by_name_and_by_address() -> None:
    hosts = ["localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "10.0.0.1", "::2", "localhost.example"]
    assert [host for host in hosts if is_loopback_host(host)] == hosts[:5]
