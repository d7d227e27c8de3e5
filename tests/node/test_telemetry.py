"""Traces: one for each message, from DATA to its last attempt, wherever that is made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import ids
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, free_port, html_mail

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="pip install 'waypost[otel]'"
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


class Span:
    """A span as a collector got it."""

    def __init__(self, span: object) -> None:
        self.name = str(span.name)  # type: ignore[attr-defined]
        self.trace = span.trace_id.hex()  # type: ignore[attr-defined]
        self.id, self.parent = span.span_id.hex(), span.parent_span_id.hex()  # type: ignore[attr-defined]
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano  # type: ignore[attr-defined]
        pairs = ((one.key, one.value) for one in span.attributes)  # type: ignore[attr-defined]
        self.attributes = {key: value.string_value or value.int_value for key, value in pairs}


def spans(collector: Receiver) -> list[Span]:
    found = []
    for one in collector.at("/v1/traces"):
        asked = trace_service.ExportTraceServiceRequest.FromString(one.body)
        for resource in asked.resource_spans:
            found += [Span(made) for scope in resource.scope_spans for made in scope.spans]
    return found


def trace_of(collector: Receiver, message: str, count: int) -> list[Span]:
    """The spans of a message, as soon as there are that many."""
    wanted = "77617970" + ids.to_octets(message).hex()
    found = until(
        lambda: [one for one in spans(collector) if one.trace == wanted],
        lambda: [(one.name, one.trace) for one in spans(collector)],
        fits=lambda found: len(found) >= count,
    )
    return sorted(found, key=lambda one: int(one.start))


def test_a_message_is_one_trace_from_data_to_the_attempt_after_a_restart(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Receiver
) -> None:
    tables = f'[telemetry]\nendpoint = "{collector.url}"\n[delivery]\nretry = ["1s"]\n'
    relay = Waypost(tmp_path, upstream.port, tables)
    with relay:
        assert relay.send(html_mail(), "e451-4.3.0-n1+traced@example.com").startswith("250")
        assert relay.events("deferred", "e451-4.3.0-n1+traced@example.com")
    with relay:
        assert relay.events("delivered", "e451-4.3.0-n1+traced@example.com")
        [message] = relay.rows("messages", "--query", "traced@example.com")
    receive, rewrite, first, *_, last = trace_of(collector, message["id"], 4)
    assert [receive.name, rewrite.name, first.name, last.name] == ["receive", "rewrite", "deliver", "deliver"]
    assert receive.parent == "" and {one.parent for one in (rewrite, first, last)} == {receive.id}
    assert receive.start <= rewrite.start <= first.start < first.end <= receive.end
    assert receive.attributes["messaging.message.id"] == message["id"]
    assert receive.attributes["smtp.response.code"] == 250
    assert (first.attributes["smtp.response.code"], last.attributes["smtp.response.code"]) == (451, 250)
    assert last.attributes["waypost.upstream"] == "scripted"
    assert not [one for one in spans(collector) if "@" in str(one.attributes)]


def test_what_is_not_sampled_is_sent_as_well_and_a_collector_that_is_away_disturbs_nobody(
    tmp_path: Path, upstream: ScriptedUpstream, collector: Receiver
) -> None:
    before = len(spans(collector))
    nobody = f"http://127.0.0.1:{free_port()}"
    for name, lines in (("none", f'"{collector.url}"\nsample = 0.0'), ("away", f'"{nobody}"')):
        relay = Waypost(tmp_path / name, upstream.port, f"[telemetry]\nendpoint = {lines}\n")
        with relay:
            assert relay.send(html_mail(), f"{name}@example.com").startswith("250")
            assert relay.stop() == 0
        assert " fault " not in relay.read_log() and "opentelemetry" not in relay.read_log()
    assert len(spans(collector)) == before
