"""What is known of recipients, by `[privacy] mode`: searched for in the mail, in its tokens, and in every file."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.spellings import found_in, spelled
from tests.store.disk_search import found_on_disk, gone_from_disk
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE, PHONE_FIELDS
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

RETRY = '[delivery]\nretry = ["1s"]\n'


@pytest.fixture(scope="module")
def aggregate(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    tables = f'{RETRY}[privacy]\nmode = "aggregate"\n'
    with Waypost(tmp_path_factory.mktemp("aggregate"), upstream.port, tables) as running:
        yield running


@pytest.fixture(scope="module")
def pseudonymous(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    tables = f'{RETRY}[privacy]\nmode = "pseudonymous"\nkeep_content = "0"\n'
    with Waypost(tmp_path_factory.mktemp("pseudonymous"), upstream.port, tables) as running:
        yield running


def test_in_aggregate_mode_nothing_in_mail_token_or_database_leads_to_the_recipient(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    ada, bob = "ada.wilhelmina@one.example", "bob.quisling@two.example"
    page = b"".join(
        b'<a href="https://shop.example/%s">x</a>' % link
        for link in (b"plain", b"?to=" + ada.encode(), b"?h=" + hashlib.sha256(bob.encode()).hexdigest().encode())
    ).decode()
    mail = html_mail(f"Hello {ada}", header="X-Waypost-Meta-User: bob.quisling\r\n", extra=page).replace(
        b"To: you@example.com", f"To: {ada}, {bob}".encode()
    )
    assert aggregate.send(mail, ada, bob, sender="b+ada.wilhelmina=one.example@sender.test").startswith("250")

    # One copy for both: nothing in it differs by recipient.
    [arrival] = upstream.to(ada)
    assert arrival.recipients == [ada, bob]
    urls = tracking_urls(arrival.octets)
    assert len(urls["o"]) == 1 and len(urls["c"]) == 2 and not urls["u"]
    assert b"List-Unsubscribe" not in arrival.octets

    # What the tokens carry, decrypted.
    for row in aggregate.rows("token", "read", *urls["o"], *urls["c"]):
        assert row["recipient"] is None
        assert not found_in(json.dumps(row).encode(), ada, bob)

    for url in (*urls["o"], urls["c"][0]):
        aggregate.get(url, headers=PHONE_FIELDS | {"X-Forwarded-For": "203.0.113.9"})
    [message] = aggregate.rows("messages", "--limit", "1")
    opened = {row["type"]: row for row in happened(aggregate, message["id"], "opened", "clicked")}
    assert opened["clicked"]["url"] == "https://shop.example/a?b=1"
    for row in opened.values():
        assert (row["verdict"], row["recipient"], row["delivery"], row["ip"], row["user_agent"]) == (
            "human", None, None, None, None,
        )  # fmt: skip
    [message] = aggregate.rows("messages", "--limit", "1")
    assert (message["opens"]["human"], message["clicks"]["human"]) == (1, 1)
    assert [one["recipient"] for one in message["deliveries"]] == [None, None]
    assert "unsubscribe_needs_recipient" in message["reasons"]
    assert {link["reason"] for link in message["links"]} == {"", "names_recipient"}
    gone_from_disk(aggregate, ada, bob)


def happened(relay: Waypost, message: str, *types: str) -> list[dict[str, object]]:
    return until(
        lambda: [row for row in relay.rows("events") if row["message"] == message and row["type"] in types],
        fits=lambda rows: len(rows) >= len(types),
        every_s=0.1,
    )


def test_in_aggregate_mode_an_address_that_waits_is_forgotten_when_it_is_settled(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    waits, other = "e451-4.3.0-n2+cornelius.v@three.example", "dorothea.p@four.example"
    assert aggregate.send(html_mail(f"For {waits}"), other, waits).startswith("250")
    assert found_on_disk(aggregate, waits)  # it must be, to be delivered
    upstream.to(waits)
    gone_from_disk(aggregate, waits, other)
    assert not aggregate.rows("queue", "list")


def test_in_aggregate_mode_a_dead_address_gets_no_more_mail_and_is_nowhere_in_clear(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    dead = "e550-5.1.1+theodora@five.example"
    assert aggregate.send(html_mail(), dead).startswith("550 5.1.1")
    count = len(upstream.turned_away) + len(upstream.arrivals)
    assert aggregate.send(html_mail(), dead).startswith("250")
    assert len(upstream.turned_away) + len(upstream.arrivals) == count
    [row] = aggregate.rows("suppressions", "list", dead)
    assert re.fullmatch(r"~[0-9a-v]{26}", row["address"]) and row["reason"] == "hard_bounce"
    gone_from_disk(aggregate, dead)
    aggregate.cli("suppressions", "remove", dead)
    assert not aggregate.rows("suppressions", "list", dead)


def test_in_aggregate_mode_a_notice_names_the_recipient_and_is_forgotten_too(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    dead, app = "e550-5.1.1+georgiana@five.example", "notices.of@sender.test"
    assert aggregate.send(html_mail(), "fine@five.example", dead, sender=app).startswith("250")
    [notice] = upstream.to(app)
    assert dead.encode() in notice.octets
    gone_from_disk(aggregate, dead)


def test_in_aggregate_mode_an_outage_leaves_no_address_in_the_journal(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "eleonora.t@six.example"
    with aggregate.locked():
        assert aggregate.send(html_mail(f"Dear {who}"), who).startswith("250")
        assert list((aggregate.folder / "data" / "journal").glob("*.jsonl"))
        assert not found_on_disk(aggregate, who)


def test_in_aggregate_mode_an_apps_own_unsubscribe_mark_leads_to_an_honest_page(
    aggregate: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "mark@seven.example"
    aggregate.send(html_mail(extra='<a href="{{waypost_unsubscribe_url}}">leave</a>'), who)
    [url] = tracking_urls(upstream.to(who)[0].octets)["u"]
    page = aggregate.get(url)
    assert page.status_code == 200 and "does not say who you are" in page.text and "<form" not in page.text
    assert httpx.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 400


def test_in_pseudonymous_mode_the_same_person_has_one_name_that_is_no_address(
    pseudonymous: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "Leonora.M@eight.example"
    for n in range(2):
        pseudonymous.send(html_mail(f"Hello {who}"), who)
        urls = tracking_urls(upstream.to(who, count=n + 1)[n].octets)
        pseudonymous.get(urls["o"][0], headers=PHONE_FIELDS)
    names = {row["recipient"] for row in pseudonymous.rows("messages", "--query", who) for row in row["deliveries"]}
    [name] = names
    assert re.fullmatch(r"~[0-9a-v]{26}", name)
    opened = pseudonymous.events("opened", name, count=2)
    assert {(row["ip"], row["user_agent"] == PHONE) for row in opened} == {(None, True)}
    gone_from_disk(pseudonymous, who)


def test_in_pseudonymous_mode_unsubscribes_and_wishes_hold_without_the_address(
    pseudonymous: Waypost, upstream: ScriptedUpstream
) -> None:
    leaves, hides = "philippa.k@nine.example", "ottoline.r@nine.example"
    pseudonymous.send(html_mail(header="X-Waypost-Stream: news\r\n"), leaves, hides)
    left, hidden = (tracking_urls(upstream.to(who)[0].octets) for who in (leaves, hides))
    assert "***" not in pseudonymous.get(left["u"][0]).text  # the page has no name to show
    httpx.post(left["u"][0], data={"List-Unsubscribe": "One-Click"})
    httpx.post(hidden["u"][0], data={"action": "dont-track"})
    pseudonymous.get(hidden["c"][0], headers=PHONE_FIELDS)
    pseudonymous.send(html_mail(header="X-Waypost-Stream: news\r\n"), leaves, hides)
    assert tracking_urls(upstream.to(hides, count=2)[1].octets)["o"] == []
    assert len(upstream.to(leaves)) == 1
    [row] = pseudonymous.rows("suppressions", "list", leaves)
    assert row["address"].startswith("~")
    assert not [row for row in pseudonymous.rows("events") if row["type"] == "clicked"]
    gone_from_disk(pseudonymous, leaves, hides)


def test_a_reply_that_quotes_the_address_is_kept_without_it(pseudonymous: Waypost, upstream: ScriptedUpstream) -> None:
    who = "e550-5.7.1+quentin@ten.example"
    upstream.quotes = True
    try:
        assert who in pseudonymous.send(html_mail(), who)  # the app hears what was said
    finally:
        upstream.quotes = False
    [message] = pseudonymous.rows("messages", "--query", who)
    [tried] = message["deliveries"][0]["attempts"]
    assert (tried["code"], tried["status"], tried["text"]) == (550, "5.7.1", "")
    gone_from_disk(pseudonymous, who)


@pytest.mark.parametrize("mode", ["pseudonymous", "aggregate"])
def test_no_spelling_of_an_address_is_left_on_disk_or_in_the_log(
    request: pytest.FixtureRequest, upstream: ScriptedUpstream, mode: str
) -> None:
    relay: Waypost = request.getfixturevalue(mode)
    who = f"hildegard.v@{mode}.example"
    forms = spelled(who)
    links = "".join(f'<a href="https://shop.example/{n}?u={form}">{form}</a>' for n, form in enumerate(forms))
    header = "".join(f"X-Waypost-Meta-F{n}: {form}\r\nX-Waypost-Tag: {form}\r\n" for n, form in enumerate(forms[:14]))
    header = header.encode("ascii", "ignore").decode()
    assert relay.send(html_mail(" / ".join(forms[:3]), header=header, extra=links), who).startswith("250")
    [arrival] = upstream.to(who)
    for url in tracking_urls(arrival.octets)["c"]:
        assert relay.get(url, headers=PHONE_FIELDS).status_code == 302
    gone_from_disk(relay, who)


def test_a_link_of_mail_already_sent_redirects_and_records_nothing_after_a_withdrawal(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "withdrawn@example.com"
    relay.send(html_mail(), who)
    urls = tracking_urls(upstream.to(who)[0].octets)
    relay.get(urls["c"][0], headers=PHONE_FIELDS)
    assert relay.events("clicked", who)
    assert httpx.post(urls["u"][0], data={"action": "dont-track"}).status_code == 200
    for url in (urls["c"][0], urls["c"][0]):
        assert relay.get(url, headers=PHONE_FIELDS).headers["location"] == "https://shop.example/a?b=1"
    assert relay.get(urls["o"][0], headers=PHONE_FIELDS).status_code == 200
    # An event of somebody else, later, shows that the earlier hits have been dealt with.
    relay.send(html_mail(), "after-withdrawal@example.com")
    relay.get(tracking_urls(upstream.to("after-withdrawal@example.com")[0].octets)["o"][0], headers=PHONE_FIELDS)
    relay.events("opened", "after-withdrawal@example.com")
    rows = [row for row in relay.rows("events", "--limit", "500") if row["recipient"] == who]
    assert [row["type"] for row in rows if row["type"] in ("opened", "clicked")] == ["clicked"]


def test_consent_that_is_asked_for_is_given_by_header_and_remembered(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    with Waypost(tmp_path, upstream.port, '[privacy]\nconsent = "asked"\n') as relay:
        who, mute = "yes@eleven.example", "mute@eleven.example"

        def tracked(recipient: str, header: str = "") -> bool:
            before = len([one for one in upstream.arrivals if recipient in one.recipients])
            relay.send(html_mail(header=header), recipient)
            octets = upstream.to(recipient, count=before + 1)[before].octets
            assert b"X-Waypost" not in octets
            urls = tracking_urls(octets)
            assert bool(urls["o"]) == bool(urls["c"])
            return bool(urls["o"])

        assert not tracked(who) and not tracked(mute)
        assert tracked(who, "X-Waypost-Consent: yes\r\n")
        assert tracked(who) and not tracked(mute)
        assert not tracked(who, "X-Waypost-Consent: no\r\n")
        assert not tracked(who)
        # What somebody said with the link of a mail is not overruled by what an app's header says.
        [url] = tracking_urls(upstream.to(who)[-1].octets)["u"]
        httpx.post(url, data={"action": "dont-track"})
        assert not tracked(who, "X-Waypost-Consent: yes\r\n")


def test_consent_cannot_be_asked_for_in_aggregate_mode(tmp_path: Path) -> None:
    relay = Waypost(tmp_path, tables='[privacy]\nmode = "aggregate"\nconsent = "asked"\n')
    assert b'consent = "asked" needs to tell recipients apart' in relay.cli("check", status=1)
