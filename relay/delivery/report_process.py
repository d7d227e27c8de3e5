"""The process that reads mail of strangers to the return path: `python -m relay.delivery.report_process`.

In: frames on standard input, a mail each.  Out: a frame on standard output for each, `Reading` as JSON.  A frame is
four octets of length, then so many octets. It knows no key and no password, and the system limits its time and
memory: a mail that takes hours to read, or gigabytes, ends this process and nothing else.
"""

import ctypes
import itertools
import math
import os
import re
import resource
import signal
import sys
import time
import traceback
from typing import BinaryIO, NamedTuple

from pydantic import TypeAdapter

from relay import return_path
from relay.bounce import lenient_mime, report
from relay.bounce.report import Report

MAX_CPU_S = 5  # of processor time for a mail; measured: 4 MB of the slowest text known take 1 s
MAX_MEMORY = 1 << 30  # octets of address space
_MAX_FILES = 16
_NICE = 5  # the mail role goes first
_MAX_SEARCHED_OCTETS = 1 << 20  # octets in which tokens are looked for
_MAX_CANDIDATES = 100
_LENGTH_OCTETS = 4
_PR_SET_PDEATHSIG = 1


class Reading(NamedTuple):
    """What a mail reports, and what may be tokens of ours in it. Nothing here is authenticated.

    `local_parts`: of addresses at the return path's domain; `links`: kind and token of tracking URLs; `fault`: the
    traceback of an error of ours, `""` if there was none; `took_ms`: of processor time.
    """

    report: Report
    local_parts: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    fault: str = ""
    took_ms: int = 0


READING: TypeAdapter[Reading] = TypeAdapter(Reading)


def read_mail(octets: bytes, domain: str, public_url: str) -> Reading:
    """What the mail reports, and the tokens that it may hold."""
    try:
        text = _searchable_text(octets)
        links = re.finditer(rf"{re.escape(public_url)}/([ocu])/([A-Za-z0-9_-]{{20,900}})", text)
        return Reading(
            report.read_report(octets),
            tuple(itertools.islice(return_path.find_candidates(domain, text), _MAX_CANDIDATES)),
            tuple((found[1], found[2]) for found in itertools.islice(links, _MAX_CANDIDATES)),
        )
    except Exception:  # noqa: BLE001  the caller logs it, and answers 451
        return Reading(Report(report.ReportKind.NONE), fault=traceback.format_exc())


def _searchable_text(octets: bytes) -> str:
    """Where a token may stand: the mail with its soft line breaks joined, and its base64 parts decoded."""
    pieces = [octets[:_MAX_SEARCHED_OCTETS].replace(b"=\r\n", b"")]
    pieces += (part.octets for part in lenient_mime.parse_mail(octets).walk() if not part.children and _is_base64(part))
    return b"\n".join(pieces).decode("latin-1")


def _is_base64(part: lenient_mime.LenientPart) -> bool:
    return part.get("content-transfer-encoding").strip().lower() == "base64"


def make_frame(octets: bytes) -> bytes:
    """The octets as they are sent."""
    return len(octets).to_bytes(_LENGTH_OCTETS, "big") + octets


def frame_length(head: bytes) -> int:
    """How many octets follow the first four."""
    return int.from_bytes(head, "big")


def main(domain: str, public_url: str) -> None:
    """Answers frames until standard input ends."""
    _limit()
    while head := sys.stdin.buffer.read(_LENGTH_OCTETS):
        octets = sys.stdin.buffer.read(frame_length(head))
        _allow_cpu(MAX_CPU_S)
        before_s = time.process_time()
        reading = read_mail(octets, domain, public_url)
        took_ms = math.ceil((time.process_time() - before_s) * 1000)
        _write(sys.stdout.buffer, READING.dump_json(reading._replace(took_ms=took_ms)))


def _write(to: BinaryIO, answer: bytes) -> None:
    to.write(make_frame(answer))
    to.flush()


def _limit() -> None:
    if sys.platform == "linux":  # it ends with the role that started it, however that ends
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICE)
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to all; the supervisor ends this one


def _allow_cpu(seconds: int) -> None:
    """From now on so much processor time, then SIGXCPU, which ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
