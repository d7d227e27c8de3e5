"""Tokens under attack and through rotations: no change of any octet is accepted, and old mail goes on working.

20,000 forgeries in the suite, a million with WAYPOST_FAULTS=long.
"""

import base64
import os
import random
import time
from pathlib import Path

import pytest

from relay import ids, tokens
from relay.edits import STORED_PREFIX, Hole, Kind

FORGERIES = 1_000_000 if os.environ.get("WAYPOST_FAULTS") == "long" else 20_000
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
URL = b"https://shop.example/account/orders?id=4711&utm_source=email&utm_medium=email"
HOLES = [Hole(Kind.OPEN), Hole(Kind.CLICK, 3, URL), Hole(Kind.UNSUBSCRIBE), Hole(Kind.CLICK, 4, STORED_PREFIX + URL)]


def forged(token: str, others: list[str], dice: random.Random) -> str:
    """The token changed in one of the ways in which one would try."""
    at, length = dice.randrange(len(token)), len(token)
    match dice.randrange(7):
        case 0:  # one character
            return token[:at] + dice.choice(ALPHABET) + token[at + 1 :]
        case 1:  # several
            letters = list(token)
            for _ in range(dice.randrange(2, 9)):
                letters[dice.randrange(length)] = dice.choice(ALPHABET)
            return "".join(letters)
        case 2:  # shorter, longer
            return token[:at] if dice.random() < 0.5 else token + dice.choice(ALPHABET) * dice.randrange(1, 5)
        case 3:  # two swapped
            to = dice.randrange(length)
            letters = list(token)
            letters[at], letters[to] = letters[to], letters[at]
            return "".join(letters)
        case 4:  # the head of one, the tail of another
            other = dice.choice(others)
            return token[:at] + other[at:]
        case 5:  # a piece repeated or taken out
            return token[:at] + token[at // 2 :]
        case _:  # something made up, with our version and key
            return token[:3] + "".join(dice.choices(ALPHABET, k=dice.randrange(20, 90)))


def test_of_very_many_forged_tokens_none_is_accepted(tmp_path: Path) -> None:
    ring = tokens.open_key_ring(tmp_path / "keys.json")
    message = ids.new()
    minted = {(hole, n): ring.mint(hole, message, n) for hole in HOLES for n in range(4)}
    ours = set(minted.values())
    dice = random.Random(6)
    pairs = list(minted.items())
    tried = accepted = 0
    while tried < FORGERIES:
        (hole, _), token = dice.choice(pairs)
        changed = forged(token, list(ours), dice)
        if changed in ours:
            continue
        tried += 1
        try:
            ring.read_token(hole.kind, changed)
            accepted += 1
        except tokens.InvalidTokenError:
            pass
    assert accepted == 0


def test_a_token_of_one_kind_is_nothing_in_another_s_place(tmp_path: Path) -> None:
    ring = tokens.open_key_ring(tmp_path / "keys.json")
    for hole in HOLES:
        token = ring.mint(hole, ids.new(), 0)
        for kind in {one.kind for one in HOLES} - {hole.kind}:
            with pytest.raises(tokens.InvalidTokenError):
                ring.read_token(kind, token)


def test_mail_signed_three_keys_ago_still_works_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_RELOAD_AFTER_S", 0.0)
    path = tmp_path / "keys.json"
    mail, web = tokens.open_key_ring(path), tokens.open_key_ring(path)  # each process has its own
    message = ids.new()
    minted = [mail.mint(HOLES[1], message, 0)]
    for _ in range(3):
        tokens.rotate_keys(path)
        time.sleep(0.002)  # a file system's clock
        minted.append(mail.mint(HOLES[1], message, 0))
    assert len(set(minted)) == len(mail.keys) == 4
    for ring in (web, tokens.open_key_ring(path)):
        for token in minted:
            assert ring.read_token(Kind.CLICK, token).url == URL
    with pytest.raises(tokens.InvalidTokenError):  # another installation's
        tokens.open_key_ring(tmp_path / "other.json").read_token(Kind.CLICK, minted[0])


@pytest.mark.parametrize("octets", [10, 60, 120, 300, 600])
def test_lengths_stay_within_their_budgets(tmp_path: Path, octets: int) -> None:
    ring = tokens.open_key_ring(tmp_path / "keys.json")
    noise = random.Random(octets).choices(ALPHABET, k=octets)
    url = ("https://" + "".join(noise))[:octets].encode()
    for recipient in (0, 127, 999, 100_000):
        message = ids.new()
        assert len(ring.mint(Hole(Kind.OPEN), message, recipient)) <= 64
        assert len(ring.mint(Hole(Kind.UNSUBSCRIBE), message, recipient)) <= 64
        assert len(ring.mint(Hole(Kind.CLICK, 200, url), message, recipient)) <= 64 + -(-4 * len(url) // 3)


def test_no_address_and_no_destination_stands_in_a_token_in_clear(tmp_path: Path) -> None:
    ring = tokens.open_key_ring(tmp_path / "keys.json")
    url = b"https://shop.example/?email=anna@example.com"
    token = ring.mint(Hole(Kind.CLICK, 1, url), ids.new(), 0)
    octets = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for word in (b"anna", b"example", b"shop", b"https"):
        assert word not in octets
