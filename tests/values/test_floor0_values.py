"""Floor 0: replies, tokens, edits, ids and the octets of DATA. Properties first."""

import string
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import edits, ids, key_file, reply, tokens
from relay.edge.data import Data
from relay.edits import Edit, Hole, Kind
from relay.reply import RefusedError, Reply

KEYS = [key_file.MasterKey(n, datetime(2026, 11, 1, tzinfo=UTC), bytes([n]) * 32) for n in (1, 2, 3, 4)]
RING = tokens.KeyRing(KEYS)
MESSAGE = ids.from_parts(1_763_000_000_000, b"abcdef")

urls = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=700).map(
    lambda rest: b"https://x.example/" + rest.encode()
)
holes = st.one_of(
    st.builds(Hole, st.just(Kind.CLICK), st.integers(1, 5000), urls),
    st.sampled_from([Hole(Kind.OPEN), Hole(Kind.UNSUBSCRIBE)]),
)


# --- tokens


@given(holes, st.integers(0, 100_000))
def test_a_token_says_what_was_put_in_and_the_same_token_comes_out_on_every_retry(hole: Hole, recipient: int) -> None:
    text = RING.mint(hole, MESSAGE, recipient)
    assert text == RING.mint(hole, MESSAGE, recipient)
    assert RING.read_token(hole.kind, text) == (hole.kind, MESSAGE, recipient, hole.link, hole.url)


@given(holes, st.data())
def test_no_altered_token_is_read(hole: Hole, data: st.DataObject) -> None:
    text = RING.mint(hole, MESSAGE, 3)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_=.~"))
    for altered in (text[:at] + letter + text[at + 1 :], text[:at], text[:at] + letter + text[at:]):
        if altered != text:
            with pytest.raises(tokens.InvalidTokenError):
                RING.read_token(hole.kind, altered)


@given(st.text())
def test_any_text_is_a_token_or_a_bad_token(text: str) -> None:
    with pytest.raises(tokens.InvalidTokenError):
        RING.read_token(Kind.CLICK, text)


def test_a_token_of_one_kind_is_nothing_in_the_place_of_another() -> None:
    for made in Kind:
        text = RING.mint(Hole(made, 1, b"https://x.example/" if made is Kind.CLICK else b""), MESSAGE, 0)
        for read in Kind:
            if read is not made:
                with pytest.raises(tokens.InvalidTokenError):
                    RING.read_token(read, text)


def test_old_keys_still_read_and_strangers_do_not() -> None:
    text = tokens.KeyRing(KEYS[:1]).mint(Hole(Kind.OPEN), MESSAGE, 0)
    assert RING.read_token(Kind.OPEN, text).message == MESSAGE
    with pytest.raises(tokens.InvalidTokenError):
        tokens.KeyRing(KEYS[1:]).read_token(Kind.OPEN, text)


@given(urls, st.integers(0, 2000), st.integers(1, 2000))
def test_urls_stay_within_their_budget(url: bytes, recipient: int, link: int) -> None:
    minter = tokens.Minter(RING, "https://links.example.com")
    assert len(RING.mint(Hole(Kind.OPEN), MESSAGE, recipient)) <= 64
    token = RING.mint(Hole(Kind.CLICK, link, url), MESSAGE, recipient)
    assert len(token) <= 64 + -(-4 * len(url) // 3)
    whole = minter.url(Hole(Kind.CLICK, link, url), MESSAGE, recipient)
    assert len(whole) <= tokens.click_url_octets("https://links.example.com", url)
    assert not set(whole) & set(b"&\"'<>= ") and whole.isascii()


def test_keys_rotate_in_their_file_and_a_running_ring_takes_the_new_one_up(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = tokens.open_key_ring(path)
    assert path.stat().st_mode & 0o077 == 0
    before = ring.mint(Hole(Kind.OPEN), MESSAGE, 0)
    for _ in range(3):
        tokens.rotate_keys(path)
    after = tokens.open_key_ring(path).mint(Hole(Kind.OPEN), MESSAGE, 0)
    assert after != before
    assert ring.read_token(Kind.OPEN, after) == ring.read_token(Kind.OPEN, before)


def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('{"keys": [{"id": 1}]}')
    with pytest.raises(ValueError, match=r"keys\.json: not a key file"):
        tokens.open_key_ring(path)


# --- ids


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=6, max_size=6))
def test_ids_keep_the_order_of_time_and_are_written_in_one_way(milliseconds: int, random: bytes) -> None:
    text = ids.from_parts(milliseconds, random)
    assert ids.from_octets(ids.to_octets(text)) == text and len(text) == 20
    if milliseconds:
        assert ids.from_parts(milliseconds - 1, b"\xff" * 6) < text


def test_ids_of_one_process_come_in_the_order_in_which_they_were_made() -> None:
    made = [ids.new() for _ in range(5000)]
    assert made == sorted(set(made))


# --- replies


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.0.0 Ok: queued as 1", Reply(250, "2.0.0", "Ok: queued as 1")),
        (550, "5.1.1 no\n5.1.1 such user", Reply(550, "5.1.1", "no\nsuch user")),
        (550, "no such user", Reply(550, "", "no such user")),
        (421, "4.7.0", Reply(421, "4.7.0", "")),
        (250, "5.1.10.3 is an address", Reply(250, "", "5.1.10.3 is an address")),
    ],
)
def test_enhanced_status_is_taken_off_the_text(code: int, text: str, expected: Reply) -> None:
    assert reply.parse_reply(code, text) == expected


@given(st.integers(200, 599), st.text(max_size=2000))
def test_a_reply_that_we_pass_on_is_whole_lines_of_printable_ascii(code: int, text: str) -> None:
    wire = Reply(code, "5.0.0", text).wire()
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(str(code).encode()) and 4 <= len(line) + 1 <= 998 for line in lines)
    assert all(32 <= octet <= 126 for octet in b"".join(lines))
    assert all(line[3:4] == b"-" for line in lines[:-1]) and lines[-1][3:4] == b" "


# --- the octets of DATA

blocks = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r\n.", b"a", b"\r\n..", b"text", b"\n", b"\r", b".\r\n"]), max_size=30
)


def _stuffed(octets: bytes) -> bytes:
    octets = b"." + octets if octets.startswith(b".") else octets
    return octets.replace(b"\r\n.", b"\r\n..") + b".\r\n"


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"text", b"\xff"]), max_size=40), st.integers(1, 9))
def test_what_was_sent_arrives_and_what_follows_the_dot_is_given_back(pieces: list[bytes], step: int) -> None:
    octets = b"".join(pieces)
    octets += b"" if octets.endswith(b"\r\n") or not octets else b"\r\n"
    wire = _stuffed(octets) + b"QUIT\r\n"
    data, rest, at = Data(1 << 20), None, 0
    while rest is None:
        rest = data.feed(wire[at : at + step])
        at += step
    assert data.finish() == octets
    assert rest + wire[at:] == b"QUIT\r\n"


@given(blocks, st.integers(1, 7))
def test_whole_or_in_pieces_the_same(pieces: list[bytes], step: int) -> None:
    wire = b"".join(pieces) + b"\r\n.\r\n"

    def run(step: int) -> tuple[object, bytes]:
        data, rest, at = Data(1 << 20), None, 0
        while rest is None:
            rest = data.feed(wire[at : at + step])
            at += step
        try:
            return data.finish(), rest + wire[at:]
        except RefusedError as refusal:
            return refusal.reply, rest + wire[at:]

    assert run(step) == run(len(wire))


@pytest.mark.parametrize(
    "false_end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n"]
)
def test_only_crlf_dot_crlf_ends_the_data(false_end: bytes) -> None:
    data = Data(1 << 20)
    assert data.feed(b"a" + false_end + b"b") is None


def test_bare_lf_becomes_crlf_and_bare_cr_is_refused() -> None:
    data = Data(1 << 20)
    data.feed(b"a\nb\r\nc\n.\nd\r\n.\r\n")
    assert data.finish() == b"a\r\nb\r\nc\r\n.\r\nd\r\n"
    data = Data(1 << 20)
    data.feed(b"a\rb\r\n.\r\n")
    with pytest.raises(RefusedError, match="bare CR"):
        data.finish()


def test_a_nul_is_refused() -> None:
    data = Data(1 << 20)
    assert data.feed(b"a\r\n\0.\r\nb\r\n.\r\n") == b""
    with pytest.raises(RefusedError, match="NUL") as refusal:
        data.finish()
    assert refusal.value.reply[:2] == (550, "5.6.0")


def test_too_much_data_is_read_to_its_end_and_not_kept() -> None:
    data = Data(1000)
    for _ in range(100):
        assert data.feed(b"x" * 997 + b"\r\n") is None
    assert len(data._octets) < 4000 and not data._pieces
    assert data.feed(b".\r\nQUIT") == b"QUIT"
    with pytest.raises(RefusedError) as refusal:
        data.finish()
    assert refusal.value.reply[:2] == (552, "5.3.4")


# --- edits


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9), st.binary(max_size=5)), max_size=5),
)
def test_undoing_the_edits_gives_the_original(octets: bytes, drawn: list[tuple[int, int, bytes]]) -> None:
    made: list[Edit] = []
    for start, length, new in sorted(drawn):
        end = min(start + length, len(octets))
        if start <= end and (not made or start >= made[-1].end):
            made.append(Edit(start, end, new, "test"))
    result = edits.splice(octets, made)
    undo, shift = [], 0
    for edit in made:
        undo.append(Edit(edit.start + shift, edit.start + shift + len(edit.new), octets[edit.start : edit.end], "undo"))
        shift += len(edit.new) - (edit.end - edit.start)
    assert edits.splice(result, undo) == octets


def test_edits_that_overlap_are_a_fault() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        edits.splice(b"abcdef", [Edit(0, 3, b"", "one"), Edit(2, 4, b"", "two")])
