"""What was said with an upstream is kept with each attempt that did not deliver, and shown where the attempt is.

Invariants: *no octet of a mail, no credential and no other recipient is in a conversation*; *a conversation is bounded,
whatever the upstream says*; *of mail that was delivered nothing is kept*.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import conversation
from relay.conversation import MAX_CHARACTERS, MAX_LINE, MAX_LINES, ConversationLine, Direction
from relay.delivery.smtp.conversation_record import HandshakeRecord
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, free_port, html_mail

PASSWORD = "upstream-secret-word"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ScriptedUpstream]]:
    made = {
        "full": ScriptedUpstream(passwords={"me": PASSWORD}),
        "old": ScriptedUpstream(extensions=("SIZE 100000",)),
        "closed": ScriptedUpstream(passwords={"me": "another"}),
        "long": ScriptedUpstream(extensions=tuple(f"X-FEATURE-{n} {'of a kind ' * 9}" for n in range(99))),
    }
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
def relay(servers: dict[str, ScriptedUpstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    ports = {name: server.port for name, server in servers.items()} | {"nobody": free_port()}
    # Where all recipients get the same octets, one transaction has them all.
    tables = (
        '[delivery]\nretry = ["1h"]\n[tracking]\nopens = false\nclicks = false\n[unsubscribe]\nheader = "off"\n'
        + "".join(
            f'[[upstream]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\ntls = "off"\n'
            f'senders = ["@{name}.test"]\noutages = 1000\n'
            + (f'username = "me"\npassword = "{PASSWORD}"\n' if name in ("full", "closed") else "")
            for name, port in ports.items()
        )
    )
    with Waypost(tmp_path_factory.mktemp("conversations"), tables=tables) as running:
        yield running


def deliveries(relay: Waypost, query: str) -> list[dict[str, Any]]:
    """The deliveries of the only message that the query finds, with their conversations."""
    [row] = relay.wait_for_rows("messages", "--query", query, fits=lambda rows: len(rows) == 1)
    assert all(not tried["conversation"] for one in row["deliveries"] for tried in one["attempts"]), (
        "only in one message"
    )
    [whole] = relay.rows("queue", "show", row["id"])
    return list(whole["deliveries"])


def lines_of(delivery: dict[str, Any]) -> list[str]:
    """The lines of its only attempt, each with a mark of who said it, times left out."""
    [attempt] = delivery["attempts"]
    times = [line["ms"] for line in attempt["conversation"]]
    assert times == sorted(times) and all(time >= 0 for time in times)
    marks = {"waypost": ">", "upstream": "<", None: "*"}
    return [f"{marks[line['by']]} {line['text']}" for line in attempt["conversation"]]


def test_an_attempt_that_failed_has_every_command_and_every_line_of_the_replies(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    relay.send(html_mail(), "e550-5.1.1+whole@example.com", sender="a@full.test")
    [delivery] = deliveries(relay, "e550-5.1.1+whole@example.com")
    lines = lines_of(delivery)
    address = f"127.0.0.1:{servers['full'].port}"
    assert lines[:3] == [f"* connecting to {address}", f"* connected to {address}", "< 220 upstream.test ESMTP"]
    assert lines[3].startswith("> EHLO ")
    assert "< 250-PIPELINING" in lines and "< 250 AUTH PLAIN LOGIN" in lines
    at = lines.index("> AUTH PLAIN [credentials]")
    assert lines[at + 1] == "< 235 2.7.0 welcome"
    assert lines[at + 2].startswith("> MAIL FROM:<a@full.test> SIZE=")
    assert lines[at + 3 :] == [
        "> RCPT TO:<e550-5.1.1+whole@example.com>",
        "> DATA",
        "< 250 2.1.0 ok",
        "< 550 5.1.1 scripted",
        "< 554 5.5.1 no recipients",
    ]


def test_neither_the_mail_nor_a_credential_is_in_it(relay: Waypost) -> None:
    mail = html_mail(extra="<p>the-words-of-the-mail</p>")
    relay.send(mail, "d554-5.6.0+refused@example.com", sender="a@full.test")
    [delivery] = deliveries(relay, "d554-5.6.0+refused@example.com")
    text = "\n".join(lines_of(delivery))
    assert "> [the mail, " in text and text.endswith("< 554 5.6.0 scripted")
    assert "the-words-of-the-mail" not in text and PASSWORD not in text and "AG1lAH" not in text  # base64 of NUL me NUL
    relay.send(mail, "ann+wrong@example.com", sender="a@closed.test")
    [delivery] = deliveries(relay, "ann+wrong@example.com")
    assert lines_of(delivery)[-2:] == ["> AUTH PLAIN [credentials]", "< 535 5.7.8 bad credentials"]


def test_the_other_recipients_of_a_transaction_are_counted_and_not_named(relay: Waypost) -> None:
    several = ("ann@one.example", "e450-4.2.1+mine@two.example", "e451-4.7.1+other@three.example")
    for sender in ("a@full.test", "a@old.test"):
        relay.send(html_mail(f"To several by {sender}"), *several, sender=sender)
        ann, mine, other = deliveries(relay, f'subject:"To several by {sender}"')
        assert ann["status"] == "delivered" and lines_of(ann) == []
        lines = lines_of(mine)
        assert "* RCPT and its reply for 2 other recipients" in lines
        assert "> RCPT TO:<e450-4.2.1+mine@two.example>" in lines and "< 450 4.2.1 scripted" in lines
        assert not [line for line in lines if "one.example" in line or "three.example" in line or "4.7.1" in line]
        assert "< 451 4.7.1 scripted" in lines_of(other) and not [line for line in lines_of(other) if "4.2.1" in line]


def test_a_reply_that_closes_the_connection_is_in_each_recipients_conversation(relay: Waypost) -> None:
    relay.send(html_mail("Closing"), "x421+first@example.com", "second@example.com", sender="a@old.test")
    for delivery in deliveries(relay, "x421+first@example.com"):
        assert lines_of(delivery)[-1] == "< 421 4.3.2 closing"
        assert delivery["attempts"][0]["text"] == "closing"


def test_an_upstream_that_cannot_be_reached_has_a_conversation_of_notes(relay: Waypost) -> None:
    relay.send(html_mail(), "ann+nobody@example.com", sender="a@nobody.test")
    [delivery] = deliveries(relay, "ann+nobody@example.com")
    begun, ended = lines_of(delivery)
    assert begun.startswith("* connecting to 127.0.0.1:") and ended.startswith("* Error connecting to ")


def test_a_second_mail_on_a_connection_says_that_there_was_one_before(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    for subject in ("Before", "Between"):
        relay.send(html_mail(subject), "before@example.com", sender="a@old.test")
    relay.send(html_mail(), "e451-4.3.0+after@example.com", sender="a@old.test")
    lines = lines_of(deliveries(relay, "e451-4.3.0+after@example.com")[0])
    assert [line for line in lines if line.startswith("* ") and line.endswith("before this one")]
    assert lines[-2:] == ["> RCPT TO:<e451-4.3.0+after@example.com>", "< 451 4.3.0 scripted"]


def test_an_upstream_that_says_much_cannot_make_a_conversation_large(relay: Waypost) -> None:
    relay.send(html_mail(), "e550-5.1.1+long@example.com", sender="a@long.test")
    lines = lines_of(deliveries(relay, "e550-5.1.1+long@example.com")[0])
    assert len(lines) <= MAX_LINES and len("\n".join(lines)) <= MAX_CHARACTERS
    assert "> RCPT TO:<e550-5.1.1+long@example.com>" in lines and lines[-1] == "< 550 5.1.1 scripted"
    assert [line for line in lines if line.endswith("lines are left out")]


@pytest.mark.parametrize(
    ("commands", "recorded_texts"),
    [
        ([(b"AUTH", b"PLAIN", b"c2VjcmV0")], ["AUTH PLAIN [credentials]"]),
        ([(b"AUTH", b"LOGIN", b"c2VjcmV0"), (b"c2VjcmV0",)], ["AUTH LOGIN [credentials]", "[credentials]"]),
        ([(b"AUTH", b"CRAM-MD5"), (b"c2VjcmV0",)], ["AUTH CRAM-MD5", "[credentials]"]),
        ([(b"AUTH", b"XOAUTH2", b"c2VjcmV0"), (b"",)], ["AUTH XOAUTH2 [credentials]", "[credentials]"]),
    ],
)
def test_of_any_mechanism_of_auth_its_name_is_kept(
    commands: list[tuple[bytes, ...]], recorded_texts: list[str]
) -> None:
    record = HandshakeRecord(lambda: 0.0)
    for words in commands:
        record.record_command(*words)
        record.record_reply(334, "c2VjcmV0")
    lines = conversation.read_lines(record.to_text())
    assert [line.text for line in lines if line.direction is Direction.SENT] == recorded_texts
    assert [line.text for line in lines if line.direction is Direction.RECEIVED] == ["334"] * len(commands)


_LINES = st.builds(ConversationLine, st.integers(0, 10**9), st.sampled_from(Direction), st.text(max_size=600))


@given(st.lists(_LINES, max_size=90))
def test_any_lines_are_bounded_and_come_back_as_they_were_stored(lines: list[ConversationLine]) -> None:
    text = conversation.to_text(lines)
    found = conversation.read_lines(text)
    assert len(found) <= MAX_LINES and len(text) <= MAX_CHARACTERS + MAX_LINES * 3
    assert all(len(line.text) <= MAX_LINE and line.text.isprintable() for line in found)
    assert conversation.to_text(found) == text and text.encode() is not None
    if sum(len(line.text) + 12 for line in lines) <= MAX_CHARACTERS and len(lines) <= MAX_LINES:
        assert len(found) == len(lines)
    elif len(lines) > 1:
        assert found[-1].at_ms == lines[-1].at_ms, "how it ended is there"


@given(st.text(max_size=200))
def test_any_text_is_read_as_lines(text: str) -> None:
    assert all(line.at_ms >= 0 for line in conversation.read_lines(text))


def test_under_a_privacy_mode_the_codes_stay_and_the_words_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ScriptedUpstream(quotes=True) as upstream:
        tables = '[delivery]\nretry = ["1h"]\n[privacy]\nmode = "pseudonymous"\n'
        with Waypost(tmp_path_factory.mktemp("private"), upstream.port, tables) as relay:
            # Of such addresses, what looks for addresses in prose finds a part.
            relay.send(html_mail(), "e550-5.1.1+a/grace@person.example", sender="b-grace/hop=person@sender.test")
            shown = deliveries(relay, "subject:Hello")
            lines = lines_of(shown[0])
            assert "> RCPT TO:<…>" in lines and any(line.startswith("> MAIL FROM:<…> SIZE=") for line in lines)
            assert "person" not in json.dumps(lines) and "+a" not in json.dumps(lines)
            assert "< 550 5.1.1" in lines and "< 250-" in lines
            assert "grace" not in json.dumps(shown)
