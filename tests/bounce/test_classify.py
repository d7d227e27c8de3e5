"""Verdicts on live replies.

*Any reply in any phase: a verdict, never a traceback.*
*Only a 5xx after MAIL can be hard, and only a hard verdict suppresses.*
*An address or the case of letters never changes a verdict.*
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounce import classify, reply_lines
from relay.bounce.classify import BounceKind, Phase
from relay.reply import Reply

BEFORE_RCPT = (Phase.CONNECT, Phase.HELO, Phase.AUTH, Phase.MAIL)
SAMPLES = [
    (rule.name, rule.category, sample, rule.upstreams[0] if rule.upstreams else "")
    for rule in classify.RULES.rules
    for sample in rule.samples
]


def verdict(line: str, upstream: str = "") -> classify.Verdict:
    phase, reply = reply_lines.parse_reply_line(line, Phase.RCPT)
    return classify.classify_reply(reply, phase, upstream)


# ------------------------------------------------------------------------------------------ the rules file


def test_every_rule_has_a_name_of_its_own_and_a_sample() -> None:
    names = [rule.name for rule in classify.RULES.rules]
    assert len(names) == len(set(names))
    assert not [rule.name for rule in classify.RULES.rules if not rule.samples]


@pytest.mark.parametrize(("name", "category", "sample", "upstream"), SAMPLES)
def test_a_sample_is_decided_by_its_rule(name: str, category: str, sample: str, upstream: str) -> None:
    got = verdict(sample, upstream)
    assert (got.rule, got.category) == (name, category)


@pytest.mark.parametrize("name", classify.RULES.override_samples)
def test_a_phase_turns_its_samples(name: str) -> None:
    for sample in classify.RULES.override_samples[name]:
        got = verdict(sample)
        assert (got.rule, got.kind, got.suppress) == (name, BounceKind.SOFT, False)


def test_the_categories_are_the_documented_ones() -> None:
    documented = (
        "accepted user_unknown domain_unknown moved mailbox_disabled mailbox_full rate_limited greylisted "
        "too_many_recipients policy reputation authentication spam content too_large relay_denied sender_rejected "
        "upstream_auth upstream_connect protocol system suppressed expired loop undetermined"
    )
    assert sorted(classify.CATEGORIES) == sorted(documented.split())
    for name, category in classify.CATEGORIES.items():
        assert category.suppress == (category.kind is BounceKind.HARD), name
        assert classify.advice_for(name) == category.advice
        assert category.advice.endswith("."), name


def test_an_unknown_category_has_advice_too() -> None:
    assert classify.advice_for("no such") == classify.advice_for("undetermined")


# ------------------------------------------------------------------------------------------------- traps


@pytest.mark.parametrize(
    ("line", "kind", "category", "retry"),
    [
        # a status of policy, a text about the user
        ("550 5.7.1 <joe@example.com>: Recipient address rejected: User unknown", "hard", "user_unknown", False),
        ("550 5.7.1 <joe@example.com>: Recipient address rejected: Access denied", "soft", "policy", False),
        # a status of the user, a text about a block
        ("550 5.1.1 <joe@example.com> Your IP is blocked, see our list", "soft", "reputation", False),
        ("550 5.1.1 Message blocked", "soft", "policy", False),
        # full, and too large
        ("552 5.2.2 Mailbox full", "soft", "mailbox_full", False),
        ("452 4.2.2 Mailbox full", "soft", "mailbox_full", True),
        ("550 5.1.1 User is over quota", "soft", "mailbox_full", False),
        ("552 5.3.4 Message too large", "soft", "too_large", False),
        ("552 5.2.2", "soft", "mailbox_full", False),
        ("554 5.7.1 <joe@example.com>: Relay access denied", "soft", "relay_denied", False),
        # Microsoft's words for an unknown user, and the same words from Postfix
        ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", "hard", "user_unknown", False),
        ("554 5.7.1 Recipient address rejected: Access denied", "soft", "policy", False),
        ("550 5.4.1 No answer", "soft", "system", False),
        ("550 5.7.606 Access denied, banned sending IP [203.0.113.9]", "soft", "reputation", False),
        ("550 5.7.649 Access denied", "soft", "reputation", False),
        ("550 5.7.650 Access denied", "soft", "policy", False),
        ("550-5.7.26 This mail is unauthenticated", "soft", "authentication", False),
        ("421 4.7.0 Our system has detected an unusual rate of mail", "soft", "rate_limited", True),
        ("451 4.7.1 Greylisted", "soft", "greylisted", True),
        # an unknown user for now is not an unknown user
        ("450 4.1.1 <joe@example.com>: Recipient address rejected: User unknown", "soft", "user_unknown", True),
        ("450 4.1.1 <joe@example.com>: unverified address: connect timed out", "soft", "system", True),
        ("550 5.1.2 Bad destination system", "hard", "domain_unknown", False),
        ("550 5.4.4 Unable to route", "hard", "domain_unknown", False),
        ("450 4.4.4 Unable to route", "soft", "system", True),
        ("551 5.1.6 moved", "hard", "moved", False),
        ("550 5.2.1 disabled", "soft", "mailbox_disabled", False),
        ("550 5.1.0 <news@example.com> sender rejected", "soft", "sender_rejected", False),
        ("550 5.1.8 <news@example.com>: Sender address rejected: User unknown", "soft", "sender_rejected", False),
        ("550 5.4.6 Loop", "soft", "loop", False),
        # credentials are the upstream's trouble in any phase
        ("rcpt\t530 5.7.0 Authentication required", "soft", "upstream_auth", True),
        ("auth\t535 5.7.8 Bad credentials", "soft", "upstream_auth", True),
        # without an enhanced status
        ("550 User unknown", "hard", "user_unknown", False),
        ("550 Blocked by zen.spamhaus.org", "soft", "reputation", False),
        ("550", "soft", "undetermined", False),
        ("554 Sorry", "soft", "undetermined", False),
        # a status of another class than the code: the code decides
        ("550 4.1.1 Hm", "hard", "user_unknown", False),
        ("450 5.1.1 Hm", "soft", "user_unknown", True),
        ("550 4.2.2 Hm", "soft", "mailbox_full", False),
        ("550 2.1.5 Hm", "soft", "undetermined", False),
        # RFC 5321 §4.5.3.1.10
        ("552 Too many recipients", "soft", "too_many_recipients", True),
        # accepted
        ("250 2.1.5 Ok", "none", "accepted", False),
        ("354 End data with <CR><LF>.<CR><LF>", "none", "accepted", False),
        # no reply at all
        ("User unknown", "soft", "undetermined", True),
        ("Connection refused", "soft", "upstream_connect", True),
        ("", "soft", "undetermined", True),
        # a trouble of the greeting passes with the upstream's trouble
        ("connect\t554 5.7.1 Client host blocked using zen.spamhaus.org", "soft", "reputation", True),
        ("connect\t554 go away", "soft", "upstream_connect", True),
        ("helo\t550 5.1.1 User unknown", "soft", "upstream_connect", True),
        ("mail\t550 5.1.1 User unknown", "soft", "sender_rejected", False),
        ("dot\t554 delivery error: dd This user doesn't have a yahoo.com account", "hard", "user_unknown", False),
    ],
)
def test_a_trap(line: str, kind: str, category: str, retry: bool) -> None:
    got = verdict(line)
    assert (got.kind.value, got.category, got.retry) == (kind, category, retry)
    assert got.suppress == (kind == "hard")


def test_an_enhanced_status_is_found_inside_the_text() -> None:
    got = classify.classify_reply(Reply(550, "", "#5.1.1 sorry"))
    assert (got.category, got.status) == ("user_unknown", "5.1.1")
    assert classify.classify_reply(Reply(554, "", "blocked 203.5.1.1.9 and 5.1.1.9")).status == ""


def test_a_status_stands_in_for_a_missing_code() -> None:
    assert verdict("5.1.1 no reason").kind is BounceKind.HARD
    assert verdict("4.2.2 no reason").retry


def test_the_text_of_all_lines_counts() -> None:
    assert verdict("550-5.7.1 We are sorry.\n550 5.7.1 Mailbox full").category == "mailbox_full"


def test_an_upstream_has_words_of_its_own() -> None:
    line = "dot\t554 Transaction failed: Duplicate header 'To'."
    assert verdict(line, "email-smtp.eu-west-1.amazonaws.com:587").category == "protocol"
    assert verdict(line, "smtp.example.com:587").category == "undetermined"


# ------------------------------------------------------------------------------------------- invariants

# Text that looks like replies reaches deeper than noise.
SCRAPS = st.sampled_from(sorted({word for _, _, sample, _ in SAMPLES for word in sample.split(" ")}))
TEXT = st.one_of(st.text(), st.lists(SCRAPS, max_size=30).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(TEXT, st.integers(-1, 1000), st.sampled_from(Phase), st.sampled_from(["", "5.1.1", "4.2.2", "2.0.0", "x"]))
def test_any_reply_gets_a_verdict(text: str, code: int, phase: Phase, status: str) -> None:
    got = classify.classify_reply(Reply(code, status, text), phase)
    assert got.category in classify.CATEGORIES
    assert (got.kind is BounceKind.NONE) == (200 <= code < 400)
    if got.kind is BounceKind.HARD:
        assert phase not in BEFORE_RCPT
        assert not got.retry
    assert got.suppress <= (got.kind is BounceKind.HARD)
    if 400 <= code < 500:
        assert got.kind is BounceKind.SOFT
        assert got.retry


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_any_line_becomes_a_reply(line: str) -> None:
    phase, reply = reply_lines.parse_reply_line(line, Phase.DOT)
    assert reply.code == 0 or 200 <= reply.code < 700
    assert classify.verdict_as_json(classify.classify_reply(reply, phase)).keys() == set(classify.Verdict._fields)


@pytest.mark.parametrize(
    "text", ["user " * 100_000, "a" * 400_000, "5." * 200_000, "a@" * 200_000, "x.1.1.1 " * 50_000, "é用" * 100_000]
)
def test_a_hostile_text_is_read_only_so_far(text: str) -> None:
    assert classify.classify_reply(Reply(550, "", text)).kind is BounceKind.SOFT


@pytest.mark.parametrize("unit", [" ", "(", "said ", ": ", "550 x\n", "http://", "www."])
def test_a_long_line_takes_time_in_proportion(unit: str) -> None:
    phase, reply = reply_lines.parse_reply_line("550-" + unit * (1_000_000 // len(unit)) + "x", Phase.RCPT)
    assert classify.classify_reply(reply, phase).kind is BounceKind.SOFT


def test_neither_case_nor_addresses_change_a_verdict() -> None:
    for name, _, sample, upstream in SAMPLES:
        phase, reply = reply_lines.parse_reply_line(sample, Phase.RCPT)
        loud = Reply(reply.code, reply.status, f"<no.spam@quota.full.example> {reply.text.upper()}")
        assert classify.classify_reply(loud, phase, upstream).rule == name, sample


def test_what_a_link_holds_decides_only_where_the_text_around_it_does_not() -> None:
    assert verdict("550 No such user, see https://example.com/spam-policy").category == "user_unknown"
    assert verdict("550 https://example.com/spam-policy").category != "undetermined"


def test_a_verdict_as_json_has_the_contracts_keys() -> None:
    assert classify.verdict_as_json(verdict("550 5.1.1 User unknown")) == {
        "kind": "hard",
        "category": "user_unknown",
        "rule": "text.unknown_outright",
        "suppress": True,
        "retry": False,
        "status": "5.1.1",
    }
