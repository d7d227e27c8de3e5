"""The entry of the package: from a message's octets to the plan of its edits.

In: the accepted octets, CRLF-ended, and the settings that hold for them.  Out: a Plan, which makes the octets
for each recipient. A message is planned once and rendered many times. Any octets have a plan; what is in
doubt passes as it came, and `reasons` says why (docs/rewriting.md).
"""

import json
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from relay.edits import Edit, Mint, splice
from relay.mime import fields, line_ends, parts
from relay.rewrite import (
    control_fields,
    display_fields,
    edit_templates,
    instrument,
    links,
    provider_dialects,
    seven_bit_conversion,
    signing_policy,
    unsubscribe,
    verify,
)
from relay.rewrite.display_fields import DisplayFields
from relay.rewrite.dkim import Sign
from relay.rewrite.edit_templates import EditTemplate
from relay.rewrite.instructions import NO_INSTRUCTIONS, Instructions
from relay.rewrite.links import Link

_NO_CONTROL: dict[str, Any] = {"tags": []}  # Any: as JSON has it
_encode_json = json.JSONEncoder(separators=(",", ":")).encode
_MAX_EDITS = 3 * links.MAX_TRACKED  # of a body: the plan is stored with each message and read for each attempt


class Settings(NamedTuple):
    """What the installation, the account and the edge say about a message."""

    public_url: str  # without a final slash
    opens: bool = True  # unless the message says otherwise; clicks too
    clicks: bool = True
    exclude: frozenset[str] = frozenset()  # hosts, and their subdomains, that are never tracked; lower case
    text_is_url: str = "skip"  # skip | track
    text_links: bool = False  # the URLs of text/plain too
    already_signed: str = "skip"  # skip | strip
    unsubscribe_header: str = "add"  # add | replace | off | for_nobody: links lead to no recipient | for_notification
    unsubscribe_streams: tuple[str, ...] = ("*",)
    unsubscribe_exempt: tuple[str, ...] = ("transactional",)
    unsubscribe_mailto: str = ""
    unsubscribe_mailto_at: str = ""  # where that is empty: the domain of an address for each recipient
    stream: str = ""  # where the message names none
    prepended_fields: tuple[bytes, ...] = ()  # whole fields, CRLF-ended, for the very top
    dialects: tuple[str, ...] = provider_dialects.NAMES  # beside our own
    providers: tuple[str, ...] = ()  # that may be the upstream of this mail
    identifying_strings: frozenset[str] = frozenset()  # strings in lower case that no tracked URL may contain
    dkim: frozenset[str] = frozenset()  # the domains that we have keys of
    may_store_urls: bool = False  # destinations too long for a URL can be stored before the mail leaves
    only_crlf: bool = False  # all lines end in CRLF: the edge has made sure
    authors: tuple[str, ...] = ("*",)  # whom the client may have us sign for, as `address.matches_any` reads it


@dataclass(frozen=True, slots=True)
class Plan:
    """The edits of a message. They are the same for all recipients except for the holes."""

    templates: tuple[EditTemplate, ...]
    links: tuple[Link, ...] = ()  # in document order over all parts
    pixels: int = 0
    reasons: tuple[str, ...] = ()  # why the message or parts of it stay as they came
    control: Instructions = field(default_factory=Instructions)
    facts: DisplayFields = field(default_factory=DisplayFields)
    dkim: str = ""  # the domain whose keys sign what is sent; empty if it is not signed
    faults: tuple[str, ...] = field(default=(), compare=False)  # errors of ours, as tracebacks for the log; not stored
    _decoded: dict[int, bytes] = field(default_factory=dict, compare=False, repr=False)  # base64 parts; not stored

    @property
    def is_untouched(self) -> bool:
        """True if what is sent ends with exactly the octets that were accepted."""
        return self.changed_to == 0

    @property
    def changed_to(self) -> int:
        """Where the last edit ends: all octets from there on are sent as they came."""
        return max([template.end for template in self.templates], default=0)

    @property
    def differs_by_recipient(self) -> bool:
        """True if recipients get different octets."""
        return any(template.differs_by_recipient for template in self.templates)

    @property
    def destinations(self) -> list[bytes]:
        """Destinations that must be stored before a copy is sent, because tokens only refer to them."""
        return edit_templates.urls_to_store(self.templates)

    def edits(self, octets: bytes, mint: Mint, *, tracked: bool = True, sign: Sign | None = None) -> list[Edit]:
        """The edits for one recipient, in order; without pixel and click links if not `tracked`.

        The signature is made last, over all the others. Where that fails the mail goes as it came, with the
        signature it came with: rewritten and unsigned it could be refused for its author's DMARC policy.
        """
        made = edit_templates.fill_templates(octets, self.templates, mint, tracked=tracked, decoded=self._decoded)
        if not self.dkim or sign is None:
            return made
        try:
            return [Edit(0, 0, sign(splice(octets, made), self.dkim), "dkim"), *made]
        except Exception:  # noqa: BLE001 - the mail goes as it came; the signer has logged it
            return self._always_applied_edits(octets, mint)

    def _always_applied_edits(self, octets: bytes, mint: Mint) -> list[Edit]:
        return edit_templates.fill_templates(
            octets,
            tuple(one for one in self.templates if one.why in signing_policy.ALWAYS_APPLIED),
            mint,
            decoded=self._decoded,
        )

    def render(
        self,
        octets: bytes,
        mint: Mint,
        *,
        tracked: bool = True,
        sign: Sign | None = None,
        seven_bit: bool = False,
    ) -> bytes:
        """The octets for one recipient; with bodies of 7 bits, where that is asked for.

        Raises NotConvertibleError, only if it was.
        """
        if not seven_bit:
            return splice(octets, self.edits(octets, mint, tracked=tracked, sign=sign))
        converted = seven_bit_conversion.convert(splice(octets, self.edits(octets, mint, tracked=tracked)))
        if not self.dkim or sign is None:
            return converted
        try:
            return sign(converted, self.dkim) + converted
        except Exception:  # noqa: BLE001 - as in `edits`
            return seven_bit_conversion.convert(splice(octets, self._always_applied_edits(octets, mint)))

    def to_json(self) -> str:
        """The plan as text, to be kept with the message."""
        return _encode_json(
            {
                "drafts": [edit_templates.to_data(template) for template in self.templates],
                "links": self.links,
                "pixels": self.pixels,
                "reasons": self.reasons,
                "dkim": self.dkim,
                "control": _NO_CONTROL if self.control is NO_INSTRUCTIONS else _instruction_values(self.control),
                "facts": self.facts._asdict(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote; it renders the same octets."""
        data = json.loads(text)
        control = Instructions(**{**data["control"], "tags": tuple(data["control"]["tags"])})
        return cls(
            tuple(edit_templates.from_data(template) for template in data["drafts"]),
            tuple(Link(*link) for link in data["links"]),
            data["pixels"],
            tuple(data["reasons"]),
            control,
            DisplayFields(**data["facts"]),
            data.get("dkim", ""),  # plans that wait since before it was there
        )


def _instruction_values(one: Instructions) -> dict[str, Any]:  # Any: what JSON can hold
    # `asdict` copies each value, which takes as long as all the rest of the text.
    return {name: getattr(one, name) for name in one.__slots__}


def plan(octets: bytes, settings: Settings, head: fields.Head | None = None) -> Plan:
    """The plan for these octets. Never raises: a fault of ours gives one that only adds the fields above the header.

    `head`: their header section, where it is read already."""
    faults: list[str] = []
    try:
        return _plan(octets, settings, head, faults)
    except Exception as error:  # noqa: BLE001 - docs/rewriting.md#faults: the original goes out
        faults.append(_format_trace(error))
        return Plan(_prepend_fields(settings), reasons=(f"fault:{type(error).__name__}",), faults=tuple(faults))


def _format_trace(error: Exception) -> str:
    """The traceback and the type; without the message, which may quote the mail."""
    return "".join((*traceback.format_tb(error.__traceback__), type(error).__name__))


def _plan(octets: bytes, settings: Settings, head: fields.Head | None, faults: list[str]) -> Plan:
    """Raises errors outside the body. Those in it are added to `faults`."""
    tree = parts.walk_parts(octets, head)
    head = tree[0].head
    control, unwanted = control_fields.read_instructions(octets, head, settings.dialects, settings.providers)
    top = [EditTemplate(gone.start, gone.end, (), "control") for gone in unwanted]
    reasons = ["control_unreadable"] if control.unreadable else []
    body = instrument.BodyEdits()
    signed = signing_policy.existing_signatures(head)
    signer = _choose_signer(octets, head, settings) if settings.dkim else ""
    if signed and not signer and settings.already_signed != "strip":
        reasons.append("already_signed")
    else:
        if not signer:
            top += (EditTemplate(gone.start, gone.end, (), "dkim") for gone in signed)
        pair, reason = unsubscribe.list_unsubscribe_fields(head, _unsubscribe_rules(settings, control))
        top += pair + control_fields.turn_tracking_off(octets, head, settings.providers)
        reasons.append(reason)
        body = _plan_body(octets, tree, control, settings, faults)
        if len(body.templates) > _MAX_EDITS:
            body = _leave_body(body, "too_many_edits")
    top.sort(key=lambda template: (template.start, template.end))
    made = (*_prepend_fields(settings), *top, *body.templates)
    if body.templates and not _is_sound(octets, tree, made, body, settings, faults):
        made = made[: -len(body.templates)]
        body = _leave_body(body, "verify_failed")
    if signer:
        gone = signing_policy.signatures_to_remove(octets, head, made, signer)
        signer = "" if gone is None else signer
        made = tuple(sorted((*made, *(gone or ())), key=lambda template: (template.start, template.end)))
    reasons = [reason for reason in dict.fromkeys(reasons + body.reasons) if reason]
    found = display_fields.read_display_fields(octets, head)
    if len(body.links) > links.MAX_REPORTED:
        reasons.append("too_many_links")
    reported = tuple(body.links[: links.MAX_REPORTED])
    return Plan(made, reported, body.pixels, tuple(reasons), control, found, signer, tuple(faults), body.decoded)


def _leave_body(body: instrument.BodyEdits, reason: str) -> instrument.BodyEdits:
    """No edits of the body, for that reason."""
    return instrument.BodyEdits(links=[link.as_skipped(reason) for link in body.links], reasons=[*body.reasons, reason])


def _plan_body(
    octets: bytes, tree: list[parts.Part], control: Instructions, settings: Settings, faults: list[str]
) -> instrument.BodyEdits:
    """The edits of the body; none after an error, so that Bcc and control fields are removed nevertheless."""
    try:
        return _body_edits(octets, tree, control, settings)
    except Exception as error:  # noqa: BLE001 - as in `plan`
        faults.append(_format_trace(error))
        return instrument.BodyEdits(reasons=[f"fault:{type(error).__name__}"])


def _is_sound(
    octets: bytes,
    tree: list[parts.Part],
    templates: tuple[EditTemplate, ...],
    body: instrument.BodyEdits,
    settings: Settings,
    faults: list[str],
) -> bool:
    """The result of `verify`; False after an error."""
    try:
        return verify.plan_is_sound(octets, tree, templates, body.edited_parts, settings.public_url, body.decoded)
    except Exception as error:  # noqa: BLE001 - as in `plan`
        faults.append(_format_trace(error))
        return False


def _body_edits(
    octets: bytes, tree: list[parts.Part], control: Instructions, settings: Settings
) -> instrument.BodyEdits:
    """The edits of the body, by the settings and the app's instructions."""
    if not settings.only_crlf and not line_ends.has_only_crlf(octets):
        return instrument.BodyEdits(reasons=["line_ends"])  # readers take lone CR and LF in three ways
    opens = settings.opens if control.track_opens is None else control.track_opens
    clicks = settings.clicks if control.track_clicks is None else control.track_clicks
    rules = links.LinkRules(
        settings.public_url,
        clicks,
        settings.exclude,
        settings.text_is_url,
        unsubscribe.listed_urls(octets, tree[0].head),
        placeholder_dialects=_leave_out(settings.dialects, settings.providers),
        text_links=settings.text_links and control.track_text is not False,
        identifying_strings=settings.identifying_strings,
        may_store_urls=settings.may_store_urls,
    )
    body = instrument.instrument_parts(octets, tree, rules, opens=opens)
    body.reasons += [reason for reason, on in (("opens_off", opens), ("clicks_off", clicks)) if not on]
    return body


@lru_cache(maxsize=64)
def _leave_out(names: tuple[str, ...], left_out: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are not among the others."""
    return tuple(name for name in names if name not in left_out)


def _choose_signer(octets: bytes, head: fields.Head, settings: Settings) -> str:
    """The domain that signs. A signed mail with a malformed header keeps its signature."""
    if head.is_malformed and head.fields_named(signing_policy.FIELD):
        return ""
    return signing_policy.choose_signer(octets, head, settings.dkim, settings.authors)


def _unsubscribe_rules(settings: Settings, control: Instructions) -> unsubscribe.UnsubscribeRules:
    return unsubscribe.UnsubscribeRules(
        settings.public_url,
        settings.unsubscribe_header,
        settings.unsubscribe_streams,
        settings.unsubscribe_exempt,
        settings.unsubscribe_mailto,
        control.stream or settings.stream,
        settings.unsubscribe_mailto_at,
    )


def _prepend_fields(settings: Settings) -> tuple[EditTemplate, ...]:
    return tuple([EditTemplate(0, 0, (field,), "above") for field in settings.prepended_fields])
