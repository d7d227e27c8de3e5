"""A relay in front of a provider: what the provider gets."""

import json
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest

from relay.address import Mailbox
from relay.config import load
from relay.delivery.rewrite_settings import RewriteSettings
from relay.envelope import AcceptedMessage, Client, Envelope, Recipient
from relay.mime import fields
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls


def test_a_provider_gets_its_own_words_and_tracks_nothing_itself(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    said = (
        'X-SMTPAPI: {"category": "welcome", "sub": {"%name%": ["Ann"]},\r\n'
        ' "filters": {"clicktrack": {"settings": {"enable": 1}}}}\r\n'
        "X-PM-Tag: elsewhere\r\n"
    )
    footer = '<a href="{{{ pm:unsubscribe }}}">out</a> <a href="<%asm_group_unsubscribe_raw_url%>">out</a>'
    with Waypost(tmp_path, upstream.port, 'provider = "sendgrid"\n') as relay:
        relay.send(html_mail(header=said, extra=footer), "provider@example.com")
        [arrival] = upstream.to("provider@example.com")
        mail = message_from_bytes(arrival.octets)
        told = json.loads(mail["X-SMTPAPI"])
        assert told["category"] == "welcome" and told["sub"] == {"%name%": ["Ann"]}
        for name in ("opentrack", "clicktrack"):
            assert told["filters"][name]["settings"]["enable"] == 0
        assert mail["X-PM-Tag"] is None
        urls = tracking_urls(arrival.octets)
        assert [len(urls[kind]) for kind in "oc"] == [1, 1]
        assert arrival.octets.count(b'<a href="' + urls["u"][0].encode()[:30]) >= 1
        assert b'<a href="<%asm_group_unsubscribe_raw_url%>">' in arrival.octets and b"pm:unsub" not in arrival.octets
        [row] = relay.rows("messages", "--query", "provider@example.com")
        assert set(row["tags"]) == {"welcome", "elsewhere"}


@pytest.mark.parametrize(
    ("sender", "names"),
    [
        ("a@one.example", ("sendgrid", "postal")),
        ("a@two.example", ("postal",)),
        ("a@three.example", ()),
        ("", ("sendgrid", "postal")),
    ],
)
def test_the_providers_are_those_of_the_upstreams_that_may_serve_the_mail(
    tmp_path: Path, sender: str, names: tuple[str, ...]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[[upstream]]\nname = "1"\naddress = "smtp.sendgrid.net:587"\nsenders = ["@one.example"]\n'
        '[[upstream]]\nname = "2"\naddress = "h:25"\nprovider = "postal"\nsenders = ["@one.example", "@two.example"]\n'
        '[[upstream]]\nname = "3"\naddress = "smtp.mailgun.org:587"\nprovider = "none"\n'
    )
    envelope = Envelope(Mailbox(sender), (Recipient(Mailbox("b@c.example")),))
    accepted = AcceptedMessage(
        "0" * 20, datetime.now(UTC), Client(ip="127.0.0.1", helo="x"), envelope, b"", (), fields.parse_head(b"", 0, 0)
    )
    assert RewriteSettings(load.load(path, {})).for_message(accepted).providers == names
