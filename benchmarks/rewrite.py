"""How long a mail takes to instrument, against pytracking's `adapt_html` on the same HTML in the same run.

Ours does all of it: MIME, the HTML tokenizer and the comparison with lxml, the rules for links, Outlook's buttons,
tokens under AES-SIV, the second check, and the octets for one recipient. Then it makes one more copy of the same mail.
pytracking parses the HTML, changes its links and serializes it, for each recipient again. It does nothing with the mail
around it. Its links are encrypted like ours (Fernet), and for comparison plain base64.

The figure is the best of many rounds in turn, in processor time. Ours remembers how it packed a URL, as it does for the
next recipient of a mailing: all rounds but the first find it so. The same mail is measured in quoted-printable and in
base64, too.

    python -m benchmarks.rewrite
"""

import base64
import quopri
from collections.abc import Callable
from functools import partial
from time import process_time

from cryptography.fernet import Fernet
from pytracking import Configuration
from pytracking.html import adapt_html

from relay.rewrite import plan
from tests.rewrite import corpora
from tests.rewrite.mails import SETTINGS, make_mail, mint

SIZES = (3_000, 30_000, 100_000)
ROUNDS_OCTETS = 6_000_000  # in each measurement: small mails many times, large ones less often
_URLS = {
    "base_open_tracking_url": "https://track.example/o/",
    "base_click_tracking_url": "https://track.example/c/",
}
_ENCRYPTED = Configuration(**_URLS, encryption_bytestring_key=Fernet.generate_key())
_PLAIN = Configuration(**_URLS)
_COLUMNS = (
    "page",
    "size",
    "links",
    "ours, ms",
    "× adapt_html, encrypted links",
    "× adapt_html, plain links",
    "quoted-printable, × 8bit",
    "base64, × 8bit",
    "one more recipient, of the first",
)
_METADATA = {"message": "0" * 20, "recipient": 0}
PARAGRAPH = (
    '<p style="margin:0 0 12px;color:#114">A paragraph of a newsletter, with <b>some</b> markup and quite a bit of '
    "text, as they are written, to be as long as real ones are on the average.</p>\r\n"
)
LINK = '<p><a href="https://shop.example/item/{n}?utm_source=mail&amp;utm_medium=email">item</a></p>\r\n'


def prose(size: int) -> str:
    """Paragraphs with a link every 2 KB."""
    out, length, n = ["<html><body>\r\n"], 0, 0
    while length < size:
        n += 1
        out.append(PARAGRAPH * 9 + LINK.format(n=n))
        length += len(out[-1])
    return _cut("".join(out), size)


def tables(size: int) -> str:
    """What MJML makes: a page of tables, conditional comments and buttons, repeated."""
    page = corpora.crlf((corpora.TEMPLATES / "mjml.html").read_bytes()).decode()
    head, _, rest = page.partition("<body")
    body = rest.partition(">")[2].rpartition("</body>")[0]
    return _cut(head + "<body>" + body * (1 + size // len(body)), size)


def _cut(html: str, size: int) -> str:
    return html[: html.rindex("\n", 0, size) + 1] + "</body></html>\r\n"


def quoted_printable(octets: bytes) -> bytes:
    """As libraries write it: in lines of at most 76 octets, with the text's own line ends."""
    return quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest processor time of each call in milliseconds; made in turn, so that all see the same weather."""
    took_ms = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begun = process_time()
            call()
            took_ms[name] = min(took_ms[name], 1000 * (process_time() - begun))
    return took_ms


def main() -> None:
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for name, make in (("a link every 2 KB", prose), ("MJML's tables, a link every 500 octets", tables)):
        for size in SIZES:
            html = make(size)
            octets = make_mail(html.encode())
            quoted = make_mail(quoted_printable(html.encode()), encoding=b"quoted-printable")
            base64_ = make_mail(base64.encodebytes(html.encode()).replace(b"\n", b"\r\n"), encoding=b"base64")
            kept = plan.plan(octets, SETTINGS)
            calls: dict[str, Callable[[], object]] = {
                "ours": partial(_instrument, octets),
                "quoted-printable": partial(_instrument, quoted),
                "base64": partial(_instrument, base64_),
                "again": partial(kept.render, octets, mint),
                "encrypted": partial(adapt_html, html, _METADATA, configuration=_ENCRYPTED),
                "plain": partial(adapt_html, html, _METADATA, configuration=_PLAIN),
            }
            took = measure(calls, max(50, ROUNDS_OCTETS // len(html)))
            ratios = (
                took[one] / took[peer]
                for one, peer in (
                    ("ours", "encrypted"),
                    ("ours", "plain"),
                    ("quoted-printable", "ours"),
                    ("base64", "ours"),
                    ("again", "ours"),
                )
            )
            row = (
                name,
                f"{size // 1000} KB",
                str(len(kept.links)),
                f"{took['ours']:.3f}",
                *map("{:.2f}".format, ratios),
            )
            print(f"| {' | '.join(row)} |", flush=True)


def documents() -> None:
    """The same over real documents, as far as adapt_html takes them: our templates, and what `make corpora` fetched."""
    sums = dict.fromkeys(("ours", "encrypted", "plain"), 0.0)
    count = refused = links = 0
    for document in (*corpora.read(corpora.TEMPLATES), *corpora.read(corpora.FETCHED)):
        if document.is_mail or not 6_000 <= len(document.octets) <= 120_000:
            continue
        octets = make_mail(document.octets, type_=b"text/html; charset=" + document.charset.encode())
        kept = plan.plan(octets, SETTINGS)
        if not kept.pixels:
            continue
        html = document.octets.decode(document.charset, "replace")
        try:
            adapt_html(html, _METADATA, configuration=_PLAIN)
        except Exception:  # noqa: BLE001  whatever it does not take
            refused += 1
            continue
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(_instrument, octets),
            "encrypted": partial(adapt_html, html, _METADATA, configuration=_ENCRYPTED),
            "plain": partial(adapt_html, html, _METADATA, configuration=_PLAIN),
        }
        for name, took_ms in measure(calls, 15).items():
            sums[name] += took_ms
        count += 1
        links += len(kept.links)
    if not count:
        print("\nNo real documents are here: `make corpora` fetches them.")
        return
    print(
        f"\n{count} real documents of 6 to 120 KB with {links} links take {sums['ours'] / sums['encrypted']:.2f} of"
        f" adapt_html's time with encrypted links, {sums['ours'] / sums['plain']:.2f} with plain ones. It cannot take"
        f" {refused} more."
    )


def _instrument(octets: bytes) -> bytes:
    return plan.plan(octets, SETTINGS).render(octets, mint)


if __name__ == "__main__":
    main()
    documents()
