"""The labelled replies: what they must hold, and how well they must be judged."""

from collections import Counter

from relay.bounce import classify, reply_lines
from relay.bounce.classify import BounceKind, Phase
from tests.bounce.corpus import score

REPLIES = score.load()


def test_the_labels_are_complete_and_agree_with_the_categories() -> None:
    assert len(REPLIES) >= 600
    assert not [reply for reply, times in Counter(one.reply for one in REPLIES).items() if times > 1]
    for one in REPLIES:
        category = classify.CATEGORIES[one.category]
        assert one.provenance, one.reply
        assert one.kind in (category.kind.value, BounceKind.SOFT.value), one.reply
        assert one.kind == category.kind.value or category.kind is BounceKind.HARD, one.reply


def test_no_labelled_reply_is_a_sample_of_the_rules() -> None:
    samples = {sample.rpartition("\t")[2] for rule in classify.RULES.rules for sample in rule.samples}
    assert not [one.reply for one in REPLIES if one.reply in samples]


def test_the_labelled_replies_are_judged_right() -> None:
    got = score.score(REPLIES)
    wrong = "\n".join(f"{one.category}, not {verdict.category}: {one.reply}" for one, verdict in got.wrong)
    assert got.precision >= 0.98, wrong
    assert got.recall >= 0.95, wrong
    assert got.categories >= 0.95, wrong


def test_no_set_is_left_behind() -> None:
    for name in {one.set for one in REPLIES}:
        got = score.score(one for one in REPLIES if one.set == name)
        assert got.precision >= 0.95, name
        assert got.recall >= 0.90, name
        assert got.categories >= 0.85, name


NOT_THE_RECIPIENT = (
    "sender address", "sender's domain", "sender account", "return path", "originating address", "envelope sender",
    "client host", "sending server", "your email address", "your domain", "your mail server", "authenticated user",
    "Message-ID", "DKIM key", "SPF record", "reverse DNS name", "HELO name", "author domain", "certificate",
)  # fmt: skip
THE_RECIPIENT = (
    "user",
    "mailbox",
    "recipient",
    "address",
    "email account",
    "addressee",
    "mailaddress",
    "<x@y.example>",
)
IS_NOT_THERE = (
    "unknown", "does not exist", "not found", "no longer exists", "is not valid", "could not be found", "is invalid",
)  # fmt: skip


def test_the_same_words_blame_the_recipient_only_if_they_are_about_it() -> None:
    for phase in (Phase.RCPT, Phase.DOT):
        for said in IS_NOT_THERE:
            for whose, blamed in ((NOT_THE_RECIPIENT, False), (THE_RECIPIENT, True)):
                for what in whose:
                    _, reply = reply_lines.parse_reply_line(f"550 5.7.1 The {what} {said}", phase)
                    verdict = classify.classify_reply(reply, phase)
                    assert (verdict.kind is BounceKind.HARD) == blamed, (reply.text, verdict)
