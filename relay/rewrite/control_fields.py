"""The app's instructions in control fields, our own and other providers'; and what the upstream's provider reads.

In: the header section.  Out: Instructions, the fields to be removed, and templates that turn the provider's own
tracking off. Of two fields with the same instruction, ours wins over others', then the first.

A provider that is no upstream of this mail never sees its fields, nor do the recipients. The upstream's own
stay, since much of what they say is for it alone, but for its tracking: what we have wrapped it must not wrap
again, and what the app wants untracked neither.
"""

import itertools
import json

from relay.mime import fields
from relay.rewrite import json_patch, provider_dialects
from relay.rewrite.edit_templates import EditTemplate
from relay.rewrite.instructions import NO_INSTRUCTIONS, Instructions, InstructionsBuilder

# Recipients must not see these.
_ALWAYS_REMOVED = frozenset({b"bcc", b"resent-bcc", b"return-path"})
_OUR_PREFIX = b"x-waypost-"
_BEGINNINGS = (*provider_dialects.PREFIXES, _OUR_PREFIX)  # of control fields; all begin with `x-`
_MAX_FIELDS = 200  # fields; an app has ten

_Index = dict[bytes, list[fields.Field]]


def read_instructions(
    octets: bytes, head: fields.Head, dialects: tuple[str, ...], upstreams: tuple[str, ...] = ()
) -> tuple[Instructions, list[fields.Field]]:
    """The app's instructions, and the fields that must not be passed on, in order.

    `upstreams` are the providers that this mail may go to.
    """
    index = {name: there for name, there in head.by_name.items() if name.startswith(b"x-")}
    may_instruct = any(name.startswith(_BEGINNINGS) for name in index)
    if not may_instruct and _ALWAYS_REMOVED.isdisjoint(head.by_name):  # as in nearly all mail
        return NO_INSTRUCTIONS, []
    builder = InstructionsBuilder()
    count = 0
    # A field that begins with our name is ours even if we do not know it: misspelt, or of a later version.
    removed = {found for found in head.fields if found.name in _ALWAYS_REMOVED or found.name.startswith(_OUR_PREFIX)}
    for name in (provider_dialects.WAYPOST, *dialects) if may_instruct else ():
        dialect = provider_dialects.DIALECTS[name]
        for row, read_field in dialect.readers:
            there = _find_fields(index, row)
            for found in there[: max(0, _MAX_FIELDS - count)]:
                read_field(builder, found.name[len(row) :].decode("ascii"), fields.unfold_value(octets, found))
            count += len(there)
            if name not in upstreams:
                removed.update(there)
        if name not in upstreams:
            removed.update(itertools.chain.from_iterable(index.get(row, ()) for row in dialect.removed))
    if any(name.startswith(_OUR_PREFIX) and not _is_known(name) for name in index):
        builder.mark_unreadable(may_forbid=False)
    return builder.control, sorted(removed, key=lambda found: found.start)


def turn_tracking_off(octets: bytes, head: fields.Head, upstreams: tuple[str, ...]) -> list[EditTemplate]:
    """The templates that turn off these providers' tracking of this mail."""
    made: list[EditTemplate] = []
    for name in upstreams:
        dialect = provider_dialects.DIALECTS[name]
        for switch in dialect.tracking_switches:
            made += (EditTemplate(found.start, found.end, (), "provider") for found in head.fields_named(switch))
        made += (EditTemplate(0, 0, (field,), "provider") for field in dialect.tracking_off)
        if dialect.settings:
            made += _set_members(octets, head, *dialect.settings)
    return made


def _set_members(octets: bytes, head: fields.Head, name: bytes, members: json_patch.Members) -> list[EditTemplate]:
    """The templates after which the JSON field has these members. One that cannot be read is left to the
    provider: a second field beside it would not be read."""
    there = head.fields_named(name.lower())
    if not there:
        return [EditTemplate(0, 0, (b"%s: %s\r\n" % (name, json.dumps(members).encode()),), "provider")]
    made: list[EditTemplate] = []
    for found in there:
        try:
            changes = json_patch.set_members(octets[found.value : found.end].decode("latin-1"), members)
        except (ValueError, RecursionError):
            continue
        at = found.value
        made += (EditTemplate(at + start, at + end, (new.encode("ascii"),), "provider") for start, end, new in changes)
    return made


def _is_known(name: bytes) -> bool:
    """True for a field of ours that we read."""
    rows = (row for row, _ in provider_dialects.DIALECTS[provider_dialects.WAYPOST].readers)
    return any(name == row or (row.endswith(b"-") and name.startswith(row)) for row in rows)


def _find_fields(index: _Index, row: bytes) -> list[fields.Field]:
    if not row.endswith(b"-"):
        return index.get(row, [])
    return [found for name, there in index.items() if name.startswith(row) for found in there]
