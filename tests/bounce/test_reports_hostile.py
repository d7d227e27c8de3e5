"""Reports that nobody would send in good faith. *Bounded work: none of these takes longer than a large honest mail.*"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounce import lenient_mime, report
from relay.bounce.report import ReportKind
from tests import processor_time

NOTICE = b"Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: Undelivered mail\n"
STATUS = NOTICE + (
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    b"--b\n\nfailed\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
)
STATUS_PART = STATUS.removesuffix(b"Reporting-MTA: dns; x\n\n")
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
        pytest.param(STATUS_PART + b"x" + b"\r\n" * 400_000 + b"y", id="blank lines in a status part"),
        pytest.param(STATUS_PART + b"\n" * 400_000, id="nothing but blank lines in a status part"),
        pytest.param(NOTICE + b"\nfailed\n" + ("@é" * 400 + "\n").encode() * 250, id="letters beyond ASCII behind @"),
        pytest.param(NOTICE + b"\nfailed\n" + (b"recipient" + b":" * 900 + b"x\n") * 400, id="colons behind a word"),
        pytest.param(NOTICE + b"\nfailed\n" + (b">" * 900 + b"x\n") * 400, id="quotes of quotes"),
        pytest.param(NOTICE + b"X-XARF: yes\n\n" + b"report-type:\n" * 20_000, id="a field of X-ARF again and again"),
        pytest.param(STATUS + b"Diagnostic-Code: smtp;\n" + b" 550 a\n" * 200_000, id="a diagnostic without end"),
        pytest.param(
            NOTICE + b"X-Failed-Recipients: " + b"u@example.com, " * 100_000 + b"\n\nfailed", id="failed without end"
        ),
    ],
)
def test_a_hostile_report_is_answered_soon(octets: bytes) -> None:
    with processor_time.at_most(5):
        report.read_report(octets)


def test_ten_thousand_recipients_are_read() -> None:
    lines = b"".join(b"<u%d@example.com>: 550 5.1.1 unknown\n\n" % n for n in range(10_000))
    assert len(report.read_report(NOTICE + b"\nThese failed.\n\n" + lines).recipients) > 9000
    blocks = b"".join(b"Final-Recipient: rfc822;u%d@example.com\nAction: failed\n\n" % n for n in range(10_000))
    assert len(report.read_report(STATUS + blocks).recipients) == 10_000


def test_a_thousand_levels_are_cut_off() -> None:
    assert report.read_report(NOTICE + b"Content-Type: message/rfc822\n\n" * 1000).recipients == ()
    levels = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1000))
    parts = list(lenient_mime.parse_mail(NOTICE + levels).walk())
    assert len(parts) == lenient_mime.MAX_DEPTH + 1
    assert (
        len(
            list(
                lenient_mime.parse_mail(
                    NOTICE + b'Content-Type: multipart/x; boundary="b"\n\n' + b"--b\n\nx\n" * 10_000
                ).walk()
            )
        )
        <= lenient_mime.MAX_PARTS
    )


def test_a_mail_without_anything_is_no_report() -> None:
    for octets in (b"", b"\n", b"\0", b"\xff" * 100, b"From ", b":", b"--\n" * 10):
        assert report.read_report(octets) == report.Report(ReportKind.NONE)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Content-Type: text/html\n\n&#" + b"1" * 5000 + b";", id="a character of 5,000 digits"),
        pytest.param(b"Content-Type: text/html\n\n&#x" + b"f" * 5000, id="a character of 5,000 hexadecimal digits"),
        pytest.param(b"Content-Type: text/plain; charset=" + b"a" * 5000 + b"\n\nx", id="a charset of 5,000 letters"),
        pytest.param(b'Content-Type: text/plain; charset="\0"\n\nx', id="a charset that is NUL"),
        pytest.param(b"Content-Type: text/plain; charset=mbcs\n\nx", id="a charset of another system"),
        pytest.param(b'\n"notificationType"\n' + b'{"a":' * 20_000, id="an object of 20,000 levels"),
        pytest.param(b'\n{"notificationType": ' + b"9" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b"\n<a@x.example>: \xd9\xa4\xd9\xa5\xd9\xa0 no", id="a code in another script's digits"),
    ],
)
def test_nothing_in_a_report_raises(body: bytes) -> None:
    for octets in (NOTICE + body, NOTICE + b"Content-Type: message/rfc822\n\n" + NOTICE + body):
        report.read_report(octets)


PIECES = (
    "\n", "\n\n", "\r\n", "\r", "\0", " ", "\t", "--b", "--b\n", "--b--", ":", ";", "<", ">", "@", '"', "\\",
    "=?", "?=", "&#",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n", "Content-Type: message/rfc822\n\n",
    "Content-Type: message/delivery-status\n\n", "Content-Type: text/html\n\n", "Content-Transfer-Encoding: base64\n\n",
    "Content-Type: text/plain; charset=utf-7\n\n", "Content-Type: message/feedback-report\n\n",
    "Final-Recipient: rfc822;",
    "Action: failed\n", "Status: 5.1.1\n", "Diagnostic-Code: smtp;", "Remote-MTA: dns;", "550 5.1.1 User unknown\n",
    "<ann@example.com>: ", "X-Failed-Recipients: ann@example.com\n", "X-Supplementary-Info: <a #5.1.1 smtp;",
    "\\x{FFFFFF}",
    '{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"a@b.c"}]},"mail":{}}',
    "\ud800", "é", "収",
    "=?utf-7?q?+2AA-?=", "[SpamCop V", "Feedback-Type: abuse\n", "could not be delivered", "9" * 50,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=30), st.binary(max_size=40))
def test_any_octets_get_a_report(pieces: list[str], tail: bytes) -> None:
    for head in (b"", NOTICE, STATUS_PART):
        read = report.read_report(head + "".join(pieces).encode("utf-8", "surrogatepass") + tail)
        for one in read.recipients:
            (one.recipient + one.text + one.status + one.remote + read.message_id).encode()
            assert not set("\r\n ") & set(one.remote + one.status)
