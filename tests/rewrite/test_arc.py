"""ARC's seals cover the mail as a signature does, so mail that bears them is signed mail (RFC 8617)."""

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, tracked

_SET = (
    b"ARC-Seal: i=1; a=rsa-sha256;\r\n cv=none; b=x",
    b"ARC-Message-Signature: i=1; a=rsa-sha256; h=from:to; bh=y; b=x",
    b"ARC-Authentication-Results: i=1; mx.example; spf=pass",
)
_PAGE = b'<a href="https://a.example/">x</a>'


def test_sealed_mail_passes_as_it_came() -> None:
    for present in (_SET, _SET[:1], _SET[1:2]):
        octets = make_mail(_PAGE, *present)
        made = plan.plan(octets, SETTINGS)
        assert made.reasons == ("already_signed",)
        assert made.render(octets, mint) == octets


def test_results_without_a_seal_are_nobodys() -> None:
    assert tracked(plan.plan(make_mail(_PAGE, _SET[2]), SETTINGS)) == ["https://a.example/"]


def test_a_chain_that_may_be_broken_is_taken_out_whole() -> None:
    octets = make_mail(_PAGE, *_SET, b"DKIM-Signature: v=1; d=a.example; b=x")
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, already_signed="strip"))
    result = made.render(octets, mint)
    assert tracked(made) == ["https://a.example/"]
    assert b"ARC-" not in result
    assert b"DKIM" not in result


def test_our_own_signature_takes_the_place_of_a_chain_that_we_break() -> None:
    octets = make_mail(_PAGE, *_SET)
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, dkim=frozenset({"bramble.example"})))
    assert made.dkim == "bramble.example"
    assert b"ARC-" not in made.render(octets, mint)
    quiet = plan.Settings(
        PUBLIC_URL, dkim=frozenset({"bramble.example"}), opens=False, clicks=False, unsubscribe_header="off"
    )
    assert plan.plan(octets, quiet).render(octets, mint).count(b"ARC-") == 3
