"""Reports that nobody would send in good faith. *Bounded work: none of these takes longer than a large honest mail.*"""

from time import process_time

import pytest

from relay.bounce import mail, report
from relay.bounce.report import ReportKind

NOTICE = b"Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: Undelivered mail\n"
STATUS = NOTICE + (
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    b"--b\n\nfailed\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
)
HTML = NOTICE + b"Content-Type: text/html\n\nfailed "


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(NOTICE + b"\n" + b"a" * 10_000_000, id="ten megabytes of one word"),
        pytest.param(NOTICE + b"\nfailed\n" + b"a@" * 500_000, id="nothing but halves of addresses"),
        pytest.param(
            NOTICE + b"\nfailed " + (b" ".join([b"u@example.com"] * 60) + b"\n") * 1000, id="addresses in rows"
        ),
        pytest.param(NOTICE + b"\nfailed " + (b" \t" * 400 + b"a@b.example\n") * 500, id="white space before each"),
        pytest.param(NOTICE + b"\nthese recipients failed:\n" + b"joe\n" * 100_000, id="names without a domain"),
        pytest.param(NOTICE + b"To: a\n" + b" a@b.example,\n" * 200_000, id="a folded field"),
        pytest.param(NOTICE + b"X: y\n" * 300_000, id="fields without end"),
        pytest.param(NOTICE + b"Content-Type: text/plain" + b"; a=b" * 200_000, id="parameters without end"),
        pytest.param(
            NOTICE + b"Content-Type: multipart/mixed\n\n" + (b"--" + b"-" * 70 + b"x\n") * 20_000, id="boundaries"
        ),
        pytest.param(HTML + b"<" * 1_000_000, id="less-than signs"),
        pytest.param(HTML + b"<a" + b"=" * 1_000_000, id="a tag that never ends"),
        pytest.param(HTML + b"<!--" * 300_000, id="comments that never end"),
        pytest.param(
            STATUS + b"Final-Recipient: rfc822;" + b"<" * 300_000 + b"a@" * 100_000, id="a recipient without end"
        ),
        pytest.param(STATUS + b"Diagnostic-Code: smtp;\n" + b" 550 a\n" * 200_000, id="a diagnostic without end"),
        pytest.param(
            NOTICE + b"X-Failed-Recipients: " + b"u@example.com, " * 100_000 + b"\n\nfailed", id="failed without end"
        ),
    ],
)
def test_a_hostile_report_is_answered_soon(octets: bytes) -> None:
    started = process_time()
    report.read(octets)
    assert process_time() - started < 5


def test_ten_thousand_recipients_are_read() -> None:
    lines = b"".join(b"<u%d@example.com>: 550 5.1.1 unknown\n\n" % n for n in range(10_000))
    assert len(report.read(NOTICE + b"\nThese failed.\n\n" + lines).failures) > 9000
    blocks = b"".join(b"Final-Recipient: rfc822;u%d@example.com\nAction: failed\n\n" % n for n in range(10_000))
    assert len(report.read(STATUS + blocks).failures) == 10_000


def test_a_thousand_levels_are_cut_off() -> None:
    assert report.read(NOTICE + b"Content-Type: message/rfc822\n\n" * 1000).failures == ()
    levels = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1000))
    parts = list(mail.read(NOTICE + levels).walk())
    assert len(parts) == mail.MAX_DEPTH + 1
    assert (
        len(list(mail.read(NOTICE + b'Content-Type: multipart/x; boundary="b"\n\n' + b"--b\n\nx\n" * 10_000).walk()))
        <= mail.MAX_PARTS
    )


def test_a_mail_without_anything_is_no_report() -> None:
    for octets in (b"", b"\n", b"\0", b"\xff" * 100, b"From ", b":", b"--\n" * 10):
        assert report.read(octets) == report.Report(ReportKind.NONE)
