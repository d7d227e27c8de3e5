"""One mailbox in several spellings: what goes upstream, and for whom an unsubscribe or a suppression holds."""

import unicodedata
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from relay import address
from relay.store.database import identities, tables
from relay.store.database.identities import IdentityPolicy
from relay.store.recipients import consent, suppressions
from relay.store.store import Store
from tests.message_factory import NOW
from tests.upstream import EXTENSIONS, ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls

UTF8 = ("SMTPUTF8",)
SPELLINGS = ["ida@bücher.example", "ida@BÜCHER.example", "ida@xn--bcher-kva.example", "IDA@XN--BCHER-KVA.EXAMPLE",
             unicodedata.normalize("NFD", "ida@bücher.example"), '"ida"@bücher.example']  # fmt: skip


@pytest.fixture(scope="module")
def ascii_upstream() -> Iterator[ScriptedUpstream]:
    """A provider that knows no SMTPUTF8."""
    server = ScriptedUpstream(extensions=(*(one for one in EXTENSIONS if one != "SMTPUTF8"), "DSN"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def in_front(ascii_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("ascii"), ascii_upstream.port) as running:
        yield running


# --- what goes upstream


def test_an_upstream_without_smtputf8_gets_a_labels(in_front: Waypost, ascii_upstream: ScriptedUpstream) -> None:
    assert in_front.send(html_mail(), "ann@bücher.example", sender="app@exämple.test", options=UTF8).startswith("250")
    [arrived] = ascii_upstream.to("ann@xn--bcher-kva.example")
    assert arrived.mail.startswith("MAIL FROM:<app@xn--exmple-cua.test>") and "SMTPUTF8" not in arrived.mail


def test_address_fields_are_written_in_ascii_too(in_front: Waypost, ascii_upstream: ScriptedUpstream) -> None:
    header = (
        'From: "@ b" <app@exämple.test>\r\nTo: Ann <field@bücher.example>,\r\n'
        ' bob@example.com (x@y), "a @ b"@BÜCHER.example\r\nSubject: to x@y\r\n'
    )
    plain = b"From: App <app@sender.test>\r\nTo: you@example.com\r\nSubject: Hello\r\n"
    mail = html_mail().replace(plain, header.encode())
    assert in_front.send(mail, "field@bücher.example", options=UTF8).startswith("250")
    [arrived] = ascii_upstream.to("field@xn--bcher-kva.example")
    expected = (
        'From: "@ b" <app@xn--exmple-cua.test>\r\nTo: Ann <field@xn--bcher-kva.example>,\r\n'
        ' bob@example.com (x@y), "a @ b"@xn--bcher-kva.example\r\nSubject: to x@y\r\n'
    )
    assert expected.encode() in arrived.octets
    signed = b"DKIM-Signature: v=1; d=x.example; h=from\r\n" + mail
    assert in_front.send(signed, "signed@bücher.example", options=UTF8).startswith("250")
    assert header.encode() in ascii_upstream.to("signed@xn--bcher-kva.example")[0].octets


@pytest.mark.parametrize(
    "written", ["jürgen@example.com", '"j ü"@example.com', "a@\u0301x.example", "ann@b.example> (für"]
)
def test_a_field_that_has_no_form_in_ascii_is_refused(in_front: Waypost, written: str) -> None:
    mail = html_mail().replace(b"you@example.com", f"Ann <{written}>".encode())
    assert in_front.send(mail, "none@bücher.example", options=UTF8).startswith("554 5.6.9")


def test_an_upstream_with_smtputf8_gets_what_the_client_wrote(relay: Waypost, upstream: ScriptedUpstream) -> None:
    assert relay.send(html_mail(), "addresses@bücher.example", options=UTF8).startswith("250")
    [arrived] = upstream.to("addresses@bücher.example")
    assert "SMTPUTF8" in arrived.mail


def test_only_a_local_part_beyond_ascii_cannot_be_written(in_front: Waypost, ascii_upstream: ScriptedUpstream) -> None:
    assert in_front.send(html_mail(), "jürgen@example.com", options=UTF8).startswith("553 5.6.7")
    assert in_front.send(html_mail(), "bob@example.com", sender="jürgen@a.test", options=UTF8).startswith("553 5.6.7")
    sent = in_front.send(html_mail(), "with@bücher.example", "jürgen@example.com", options=UTF8)
    assert sent.startswith("250")
    assert ascii_upstream.to("with@xn--bcher-kva.example")[0].recipients == ["with@xn--bcher-kva.example"]


def test_the_original_recipient_is_named_in_ascii_too(in_front: Waypost, ascii_upstream: ScriptedUpstream) -> None:
    with in_front.client() as client:
        client.ehlo()
        client.mail("app@sender.test", UTF8)
        client.rcpt("orcpt@bücher.example", ("ORCPT=utf-8;orcpt@bücher.example",))
        assert client.data(html_mail())[0] == 250
    [arrived] = ascii_upstream.to("orcpt@xn--bcher-kva.example")
    assert arrived.rcpts[0].endswith(r"ORCPT=utf-8;orcpt@b\x{FC}cher.example")


def test_the_final_dot_of_a_domain_does_not_go_out(relay: Waypost, upstream: ScriptedUpstream) -> None:
    """B1: an upstream that refused the dot had the address without it suppressed, and its mail dropped."""
    assert relay.send(html_mail(), "final-dot@example.org.", sender="app@sender.test.").startswith("250")
    assert relay.send(html_mail(), "final-dot@example.org").startswith("250")
    first, second = upstream.to("final-dot@example.org", 2)
    assert first.mail.partition(" SIZE")[0] == second.mail.partition(" SIZE")[0] == "MAIL FROM:<app@sender.test>"
    assert {row["recipient"] for row in relay.events("delivered", "final-dot@example.org", 2)}


# --- who is one person


def test_a_local_part_has_spellings_too() -> None:
    composed, apart = "jürgen@example.com", unicodedata.normalize("NFD", "jürgen@example.com")
    for mailbox in (composed, apart, composed.upper()):
        assert address.canonical(mailbox) == composed
        assert {composed, apart} <= set(address.earlier_canonicals(mailbox))
    assert address.earlier_canonicals("ann@example.com") == []
    assert address.canonical('"Ann"@example.com') == address.canonical(r'"a\nn"@example.com') == "ann@example.com"
    assert '"ann"@example.com' in address.earlier_canonicals('"Ann"@example.com')
    for needs_quotes in ('"a b"@example.com', '"a@b"@example.com', '""@example.com', '"a"."b"@example.com'):
        assert address.canonical(needs_quotes) == needs_quotes


def test_an_unsubscribe_holds_for_every_spelling_of_the_domain(
    in_front: Waypost, ascii_upstream: ScriptedUpstream
) -> None:
    assert in_front.send(html_mail(), SPELLINGS[0], options=UTF8).startswith("250")
    [arrived] = ascii_upstream.to("ida@xn--bcher-kva.example")
    link = tracking_urls(arrived.octets)["u"][0]
    assert httpx.post(link, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    for spelling in SPELLINGS:
        in_front.send(html_mail(), spelling, options=UTF8)
        assert in_front.events("suppressed", spelling)
    assert len(ascii_upstream.to("ida@xn--bcher-kva.example")) == 1


def test_two_spellings_in_a_list_are_one_entry(in_front: Waypost) -> None:
    lines = "\n".join(spelling.replace("ida", "list", 1).replace("IDA", "list", 1) for spelling in SPELLINGS)
    assert in_front.cli("suppressions", "import", "-", stdin=lines.encode()) == b"added 1, known 5, refused 0\n"
    assert in_front.cli("suppressions", "import", "-", stdin=lines.encode()) == b"added 0, known 6, refused 0\n"
    for query in ("list@bücher.example", "list@xn--bcher-kva", "@bücher.example"):
        found = [row["address"] for row in in_front.rows("suppressions", "list", query)]
        assert "list@xn--bcher-kva.example" in found
    in_front.cli("suppressions", "remove", "list@BÜCHER.example")
    assert in_front.rows("suppressions", "list", "list@bücher.example") == []


@pytest.mark.parametrize("earlier", ["ida@bücher.example", unicodedata.normalize("NFD", "ida@bücher.example")])
@pytest.mark.parametrize("mode", ["full", "pseudonymous"])
def test_what_an_earlier_version_wrote_down_still_holds(opened: Store, earlier: str, mode: str) -> None:
    known = IdentityPolicy(mode, b"k" * 32)
    name = known._pseudonym(earlier) if known.redacts else earlier
    row = {"address": name, "scope": "all", "stream": "", "reason": "unsubscribe", "evidence": "", "message": ""}
    said = {"address": name, "is_yes": False, "at": NOW, "source": consent.RECIPIENT}
    who, later = "ida@xn--bcher-kva.example", NOW + timedelta(days=1)

    def work(connection: sa.Connection) -> None:
        connection = connection.execution_options(**identities.engine_options(known))
        connection.execute(sa.insert(tables.suppression), row | {"created_at": NOW, "expires_at": None})
        connection.execute(sa.insert(tables.consent), said)
        for spelling in SPELLINGS:
            assert suppressions.find_suppressed(connection, [spelling], "news", later) == {who: "unsubscribe"}
            assert consent.find_untracked(connection, [spelling]) == {who}
            assert not suppressions.add_suppression(connection, spelling, reason="manual", at=later)
        assert suppressions.remove_suppressions(connection, SPELLINGS[3]) == 1

    opened.writer.submit(work).result(60)
