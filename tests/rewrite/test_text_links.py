"""Text mail through SMTP and `waypost instrument`: with `text_links` its URLs are tracked, without it nothing is."""

import json
from email import message_from_bytes
from pathlib import Path

from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, tracking_urls

_MAIL = (
    b"From: Orla <orla@bramble.example>\r\nTo: ann@example.com\r\nSubject: Kettle\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"It is ready (see https://shop.example/a?b=1&c=%20). \r\nGr\xc3\xbc\xc3\x9fe\r\n-- \r\n<https://shop.example/.>\r\n"
)


def test_a_click_in_a_text_leads_where_its_url_led(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    who = "text@example.com"
    with Waypost(tmp_path, upstream.port, "[tracking]\ntext_links = true\n") as relay:
        relay.send(_MAIL, who, options=("BODY=8BITMIME",))
        [arrival] = upstream.to(who)
        clicks = tracking_urls(arrival.octets)["c"]
        assert [relay.get(click).headers["location"] for click in clicks] == [
            "https://shop.example/a?b=1&c=%20",
            "https://shop.example/.",
        ]
        body = message_from_bytes(arrival.octets).get_payload(decode=True)
        assert isinstance(body, bytes)
        first, second = (click.encode() for click in clicks)
        assert body.partition(b"\r\n-- \r\n")[::2] == (
            b"It is ready (see " + first + b"). \r\nGr\xc3\xbc\xc3\x9fe",
            b"<" + second + b">\r\n",
        )


def test_the_report_has_the_links_of_texts(tmp_path: Path) -> None:
    mail, report = tmp_path / "mail.eml", tmp_path / "report.json"
    mail.write_bytes(_MAIL)
    for tables, urls in (("", []), ("[tracking]\ntext_links = true\n", ["shop.example/a?b=1&c=%20", "shop.example/."])):
        relay = Waypost(tmp_path / f"n{len(urls)}", None, tables)
        relay.cli("instrument", str(mail), "--to", "ann@example.com", "--report", str(report))
        said = json.loads(report.read_text())
        assert [(link["url"], link["text"]) for link in said["links"]] == [(f"https://{url}",) * 2 for url in urls]
        assert said["untouched"] is not bool(urls)
