"""How long a mail takes to instrument, against pytracking's `adapt_html` on the same HTML in the same run.

Ours is the whole way: MIME, both tokenizers, the links' rules, tokens under AES-SIV, the second look, and the octets
for one recipient; and again for one more recipient of the same mail. pytracking's parses the HTML, puts links of plain
base64 into it, and writes it anew; the mail around it is not its business. Medians, alternating, on one core.

    make bench
"""

import gc
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytracking import Configuration
from pytracking.html import adapt_html

from relay.rewrite import plan
from tests.rewrite import corpora
from tests.rewrite.letters import SETTINGS, letter, mint

SIZES = (3_000, 30_000, 100_000)
ROUNDS_OCTETS = 6_000_000  # in each measurement: small mails many times, large ones less often
_OURS = Configuration(
    base_open_tracking_url="https://track.example/o/", base_click_tracking_url="https://track.example/c/"
)
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


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each call in milliseconds, made in turn so that all see the same weather."""
    took_ms: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for _ in range(rounds):
        for name, call in calls.items():
            begun = perf_counter()
            call()
            took_ms[name].append(1000 * (perf_counter() - begun))
    gc.enable()
    return {name: statistics.median(found) for name, found in took_ms.items()}


def main() -> None:
    for name, make in (("prose, a link every 2 KB", prose), ("tables and conditional comments", tables)):
        print(f"{name}:")
        for size in SIZES:
            html = make(size)
            octets = letter(html.encode())
            kept = plan.plan(octets, SETTINGS)
            found = measure(
                {
                    "ours": lambda octets=octets: plan.plan(octets, SETTINGS).render(octets, mint),
                    "again": lambda octets=octets, kept=kept: kept.render(octets, mint),
                    "theirs": lambda html=html: adapt_html(html, {"message": "0" * 20}, configuration=_OURS),
                },
                max(30, ROUNDS_OCTETS // len(html)),
            )
            print(
                f"  {size // 1000:>4} KB, {len(kept.links):>3} links: {found['ours']:7.3f} ms a mail,"
                f" {found['again']:6.3f} ms one more recipient, adapt_html {found['theirs']:7.3f} ms:"
                f" {found['ours'] / found['theirs']:.2f} × its time"
            )


if __name__ == "__main__":
    main()
