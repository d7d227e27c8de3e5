"""`waypost instrument`: what the upstream would get of a mail."""

import argparse
import contextlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from relay import address, ids, log
from relay.address import Mailbox
from relay.cli import command, file_octets
from relay.cli.command import CommandError
from relay.config.schema import Config
from relay.delivery.rewrite_settings import RewriteSettings
from relay.edge import header, trace_fields
from relay.edge.data import Data
from relay.edits import Edit, splice
from relay.envelope import AcceptedMessage, Client, Envelope, Recipient
from relay.mime import fields
from relay.node import data_directory
from relay.reply import RefusedError
from relay.rewrite import dkim, mailboxes
from relay.rewrite import plan as planning
from relay.rewrite.plan import Plan
from relay.store.queue.long_url_files import LongUrlFiles
from relay.tokens import KeyRing, Minter


def instrument_file(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    original = _read_file(arguments.file)
    taken = _normalize_or_refuse(original, config)
    octets = taken.octets
    accepted = _accept_message(config, octets, arguments.reverse_path, arguments.to)
    ring = data_directory.open_key_ring(config)
    plan = _make_plan(config, ring, accepted)
    for fault in plan.faults:
        log.fault_trace("plan", accepted.id, fault)
    minter = Minter(ring, config.tracking.public_url, config.privacy.has_recipient_tokens)

    mint = minter.url_factory(accepted.id, 0)
    tracked = config.privacy.mode != "off"
    edits = plan.edits(octets, mint, tracked=tracked, sign=dkim.Signer(config.dkim.key).as_of(accepted.at))
    if arguments.report:
        text = (
            json.dumps(report_object(plan, original, taken.edits_of_file(edits)), ensure_ascii=False, indent=1) + "\n"
        )
        if arguments.report == "-":
            sys.stderr.write(text)
        else:
            try:
                Path(arguments.report).write_text(text, "utf-8")
            except OSError as error:
                raise CommandError(f"cannot write {arguments.report}: {error.strerror}") from None
    sys.stdout.buffer.write(splice(octets, edits))
    sys.stdout.buffer.flush()
    return 0


def _make_plan(config: Config, ring: KeyRing, accepted: AcceptedMessage) -> Plan:
    """The relay's plan. This command stores nothing: a link whose destination would have to be stored first is left as
    it is, so that every link in the output works."""
    settings = RewriteSettings(config).for_message(accepted)
    plan = planning.plan(accepted.octets, settings, accepted.head)
    stored = LongUrlFiles(config.relay.data_dir)
    if all(stored.find(ring.reference_for(url)) is not None for url in plan.destinations):
        return plan
    return planning.plan(accepted.octets, settings._replace(may_store_urls=False), accepted.head)


def report_object(plan: Plan, octets: bytes, edits: list[Edit]) -> dict[str, object]:
    """The report (docs/rewriting.md#the-report). `old` is the original text of the span, so that the edit can be
    undone."""
    return {
        "untouched": plan.is_untouched,
        "reasons": list(plan.reasons),
        "pixels": plan.pixels,
        "links": [
            {"url": link.url, "decision": link.decision, "reason": link.reason, "text": link.text}
            for link in plan.links
        ],
        "edits": [
            {
                "start": edit.start,
                "end": edit.end,
                "old": octets[edit.start : edit.end].decode("latin-1"),
                "new": edit.new.decode("latin-1"),
                "why": edit.why,
            }
            for edit in edits
        ],
    }


def _read_file(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from None


def _normalize_or_refuse(octets: bytes, config: Config) -> file_octets.NormalizedFile:
    """The octets as the edge would accept them. Raises CommandError with the edge's refusal."""
    taken = file_octets.normalize_file(octets)
    stuffed = taken.octets.replace(b"\r\n.", b"\r\n..")
    data = Data(max(config.access.max_size, len(stuffed)))
    data.feed((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
    try:
        data.finish()
        header.read_header(taken.octets)
    except RefusedError as refusal:
        raise CommandError(f"the relay would refuse this mail: {refusal.reply}") from None
    return taken


def _accept_message(config: Config, octets: bytes, reverse_path: str | None, to: str) -> AcceptedMessage:
    head = header.read_header(octets)
    sender = _author(octets, head) if reverse_path is None else _parse_path(reverse_path)
    recipient = _parse_path(to)
    if not recipient:
        raise CommandError("--to needs an address")
    now = datetime.now(UTC)
    message = ids.new(now)
    client = Client(ip="127.0.0.1", helo="localhost")
    envelope = Envelope(sender, (Recipient(recipient),))
    above = trace_fields.make_trace_fields(head, message, config.relay.hostname, client, envelope, now)
    return AcceptedMessage(message, now, client, envelope, octets, above, head)


def _author(octets: bytes, head: fields.Head) -> Mailbox:
    """The first address of the From field, which is mostly the app's reverse-path; null if there is none."""
    for field in head.fields_named(b"from")[:1]:
        for mailbox in (mailboxes.parse_mailboxes(fields.unfold_value(octets, field)) or [])[:1]:
            with contextlib.suppress(address.PathSyntaxError):
                return address.parse_mailbox(mailbox)
    return address.NULL


def _parse_path(text: str) -> Mailbox:
    """The address, with or without its angle brackets; NULL if it is empty. Raises CommandError."""
    return command.parse_reverse_path(text.removeprefix("<").removesuffix(">"))
