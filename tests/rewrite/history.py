"""A page sent through providers: its plan, and the fields that go on."""

from relay.mime import fields
from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, mint

PAGE = b'<html><body><a href="https://a.example/">x</a></body></html>\r\n'


def planned(octets: bytes, *upstreams: str, **more: object) -> plan.Plan:
    return plan.plan(octets, plan.Settings(PUBLIC_URL, providers=upstreams, unsubscribe_header="off", **more))  # type: ignore[arg-type]


def sent_fields(octets: bytes, *upstreams: str, **more: object) -> list[bytes]:
    """The fields that are sent, unfolded, without those that every letter here has."""
    result = planned(octets, *upstreams, **more).render(octets, mint)
    head = fields.parse_head(result, 0, len(result))
    usual = {b"from", b"subject", b"mime-version", b"content-type", b"content-transfer-encoding"}
    return [
        result[field.start : field.value] + b" " + fields.unfold_value(result, field)
        for field in head.fields
        if field.name not in usual
    ]
