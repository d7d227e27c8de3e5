"""Reports that come in later.

*Any octets: an answer, never a traceback.*
*LF, CRLF or CR, a "From " line first or blank lines: the same answer.*
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounce import report
from relay.bounce.report import ReportKind
from tests.bounce.corpus import score_reports
from tests.bounce.dsn import DSN


def test_a_standard_report_names_recipient_action_status_and_original() -> None:
    got = report.read_report(DSN)
    assert (got.kind, got.message_id) == (ReportKind.DSN, "1234@app.example.org")
    assert got.addresses == ("b+token@bounces.example.org",)
    ann, bob = got.recipients
    assert (ann.recipient, ann.original, ann.action) == ("ann@example.com", "ann@example.com", "failed")
    assert (ann.status, ann.code, ann.remote) == ("5.1.1", 550, "mx.example.com")
    assert ann.text == "550 5.1.1 <ann@example.com>: User unknown"
    assert (ann.verdict.category, ann.verdict.suppress) == ("user_unknown", True)
    assert (bob.recipient, bob.action, bob.status) == ("bob@example.com", "delayed", "4.4.1")
    assert (bob.verdict.kind, bob.verdict.suppress) == ("soft", False)


def test_line_ends_and_what_stands_before_the_mail_change_nothing() -> None:
    wanted = report.read_report(DSN)
    assert report.read_report(DSN.replace(b"\n", b"\r\n")) == wanted
    assert report.read_report(DSN.replace(b"\n", b"\r")) == wanted
    assert report.read_report(b"From MAILER-DAEMON Wed Oct  4 02:03:34 2000\n" + DSN) == wanted
    assert report.read_report(b"\r\n\r\n" + DSN) == wanted


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(0, len(DSN)), st.integers(0, 300))
def test_any_octets_get_an_answer(octets: bytes, at: int, cut: int) -> None:
    for one in (report.read_report(octets), report.read_report(DSN[:at] + octets + DSN[at + cut :])):
        repr(one).encode()


def test_what_no_text_can_hold_is_left_out() -> None:
    halves = DSN.replace(b"rfc822;ann@", rb"utf-8;\x{D800}\x{110000}\x{E4}nn@")
    assert report.read_report(halves).recipients[0].recipient == "änn@example.com"
    utf7 = b"From: MAILER-DAEMON@x\nSubject: Undelivered\nContent-Type: text/plain; charset=utf-7\n\n"
    [failed] = report.read_report(utf7 + b"<ann+AEA-example.com>: 550 5.1.1 unknown +2AA-x").recipients
    assert failed.recipient == "ann@example.com"
    failed.text.encode()


def test_the_returned_mail_is_named_wherever_its_message_id_stands() -> None:
    for labelled in score_reports.mails():
        octets = (score_reports.HERE / "reports" / f"{labelled.name}.eml").read_bytes()
        wanted = "1234@app.example.org" if b"1234@app.example.org" in octets else ""
        assert labelled.read.message_id == wanted or labelled.name == "bounced-bounce", labelled.name
        assert labelled.read.addresses == ("b+t@bounces.example.org",), labelled.name


def test_the_labelled_reports_are_read_right() -> None:
    got = score_reports.score()
    assert got.mails >= 80
    assert min(got.recall, got.kind, got.action) >= 0.98, got.wrong
    assert got.invented <= 0.02, got.wrong
    assert min(got.hard_precision, got.hard_recall) >= 0.95, got.wrong
    assert got.category >= 0.92, got.wrong
