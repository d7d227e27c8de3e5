"""Read delivery status notifications: the machine-readable part, as loosely as it is written.

In: a mail's parts.  Out: a RecipientReport for each recipient block.  RFC 3464, RFC 6533; old forms with comments,
without address types, without blank lines between the blocks or with too many of them.
"""

import re
from collections.abc import Iterator, Mapping

from relay.bounce import lenient_mime, recipient_report
from relay.bounce.recipient_report import RecipientReport

STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status", "message/delivery-report")
MAX_RECIPIENTS = 10_000

# Blanks, not white space: white space runs over line ends, and again from each of them.
_STATUS_TEXT = re.compile(
    r"^[ \t]*+(?:reporting-mta|final-recipient|original-recipient)[ \t]*+:", re.IGNORECASE | re.MULTILINE
)
_FIELD = re.compile(r"\A([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*+:[ \t]*+(.*)")
_STATUS = re.compile(r"(?<![0-9.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.]*[0-9])")
_TYPE = re.compile(r"\A([A-Za-z][\w-]{0,30})\s*+;\s*+")
# Exchange's own place for the next server's reply: "<mx.example.com #5.7.1 smtp;550 5.7.1 ...>".
_SUPPLEMENT = re.compile(r"\A<?[^\s#]{0,255}+\s{0,5}#[245]\.[0-9]{1,3}\.[0-9]{1,3}\s{0,5}(?=smtp\s?;)", re.IGNORECASE)
# A host or an address: what a report says there goes into our own notices and logs.
_REMOTE = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
# RFC 6533 §3: "\x{20AC}"; RFC 3461 §4: only what xtext must encode, for `+20` is a part of real addresses.
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_XTEXT = re.compile(r"\+(2B|3D)")
_MAILBOX = re.compile(r"(?<![^\s<;:(])((?:\"[^\"\n]{1,128}\"|[^\s<>@\"(),;:]{1,256})@(?:[^\s<>@\"(),;:]{1,255}))")
_UNIQUE_FIELDS = {"final-recipient", "original-recipient", "action", "status"}
_ACTIONS = {
    "fail": "failed", "undeliv": "failed", "error": "failed", "delay": "delayed", "deliver": "delivered",
    "relay": "relayed", "expand": "expanded",
}  # fmt: skip


def find_status_parts(mail: lenient_mime.LenientPart) -> list[lenient_mime.LenientPart]:
    """The parts that hold status blocks: by their type, else by what they say. Those of a returned report do not."""
    own = list(_parts_outside_messages(mail))
    return [part for part in own if part.type in STATUS_TYPES and _STATUS_TEXT.search(part.text)] or [
        part
        for part in own
        if not part.children
        and part is not mail
        and _STATUS_TEXT.match(part.text.lstrip())
        and "action" in part.text.lower()
    ]


def read_recipient_reports(parts: list[lenient_mime.LenientPart]) -> list[RecipientReport]:
    """What the blocks say, in order, each address once per action."""
    seen: dict[tuple[str, str], RecipientReport] = {}
    for part in parts:
        for block in _split_blocks(part.text):
            if len(seen) >= MAX_RECIPIENTS:
                break
            one = _read_block(block)
            key = one.recipient.lower(), one.action
            if one.recipient and (key not in seen or not seen[key].text):
                seen[key] = one
    return list(seen.values())


def _parts_outside_messages(part: lenient_mime.LenientPart) -> Iterator[lenient_mime.LenientPart]:
    yield part
    for child in part.children:
        if not part.type.startswith("message/"):
            yield from _parts_outside_messages(child)


def _split_blocks(text: str) -> Iterator[Mapping[str, str]]:
    """The recipients' fields. A block ends where a field that it has comes again."""
    block: dict[str, str] = {}
    last = ""
    for line in text.split("\n"):
        field = _FIELD.match(line)
        if field:
            last = field[1].lower()
            if last in _UNIQUE_FIELDS and last in block:
                yield block
                block = {}
            block.setdefault(last, field[2])
        elif not line.strip():
            last = ""
            # The second of these lacks in many, and some leave a blank line between any two fields.
            if "action" in block and "final-recipient" in block and "status" in block:
                yield block
                block = {}
        elif last:
            # Folded, or broken without the white space that folding asks for.
            block[last] = f"{block[last]}\n{line.strip()}"[: 4 * recipient_report.MAX_TEXT]
    yield block


def _read_block(block: Mapping[str, str]) -> RecipientReport:
    final, original = (
        recipient_mailbox(block.get("final-recipient", "")),
        recipient_mailbox(block.get("original-recipient", "")),
    )
    status = _STATUS.search(block.get("status", ""))
    diagnostic = block.get("diagnostic-code", "") or block.get("x-display-diagnostic", "")
    if not diagnostic:
        diagnostic = _SUPPLEMENT.sub("", block.get("x-supplementary-info", "").strip().removesuffix(">"))
    diagnostic = diagnostic.lstrip()
    typed = _TYPE.match(diagnostic)
    return recipient_report.judge_recipient(
        original or final,
        normalize_action(block.get("action", ""), status[0] if status else ""),
        status[0] if status else "",
        diagnostic[typed.end() :] if typed else diagnostic,
        remote=_remote(block.get("remote-mta", "")),
        original=original,
    )


def normalize_action(value: str, status: str) -> str:
    """The action as a word of RFC 3464; without one, by the status."""
    word = value.strip().lower()
    for beginning, name in _ACTIONS.items():
        if word.startswith(beginning):
            return name
    return {"4": "delayed", "2": "delivered"}.get(status[:1], "failed")


def _remote(value: str) -> str:
    """The host that a Remote-MTA field names; `""` for anything but a name or an address."""
    host = value.rpartition(";")[2].partition("(")[0].strip()
    return host if _REMOTE.fullmatch(host) else ""


def _character(point: int) -> str:
    return chr(point) if point < 0xD800 or 0xE000 <= point < 0x110000 else ""


def recipient_mailbox(value: str) -> str:
    """The mailbox that a recipient field names; `""` if it names none."""
    value = value.lstrip()
    typed = _TYPE.match(value)
    value = value[typed.end() :] if typed else value
    kind = typed[1].lower() if typed else ""
    value = _XTEXT.sub(lambda m: chr(int(m[1], 16)), value) if kind == "rfc822" else value
    value = _EMBEDDED.sub(lambda m: _character(int(m[1], 16)), value)
    # The bounds of addresses in running text do not hold here.
    whole = _MAILBOX.search(value)
    return whole[1].rstrip(".") if whole else ""
