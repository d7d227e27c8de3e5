"""The facts that may wait in a journal, by name, and how each is applied.

In: a fact's name and value, or a line of a journal.  Out: rows. Applying a fact twice changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ConfigDict, TypeAdapter

from relay.store.database import journal, savepoints
from relay.store.database.journal import Fact, Journal, RemainingLines
from relay.store.queue import deliveries, outcomes, queue_facts, redaction, unstorable_results
from relay.store.recipients import consent, stream_preferences
from relay.store.tracking import hit_batches, hit_facts, hits, verdicts


def _adapter(fact: Any) -> TypeAdapter[Any]:  # Any: the type of a fact's value
    """Its reader and writer of JSON, built when it is first used: most commands journal nothing."""
    return TypeAdapter(fact, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", defer_build=True))


FACTS = {
    "new_message": Fact(
        _adapter(queue_facts.NewMessage),
        deliveries.insert_message,
        redaction.redact_new_message,
        apply_all=deliveries.insert_messages,
        earlier_name="filing",
        mail_octets=lambda new: len(new.octets or b""),
    ),
    "outcomes": Fact(
        _adapter(queue_facts.OutcomesFact),
        lambda connection, fact: outcomes.record_outcomes(connection, *fact),
        lambda people, fact: fact._replace(outcomes=redaction.redact_outcomes(people, fact.outcomes)),
        lambda connection, fact: unstorable_results.record_without_reply_text(connection, *fact),
        lambda connection, facts: outcomes.record_all_outcomes(connection, facts),
        earlier_name="settled",
    ),
    "hit": Fact(_adapter(hit_facts.Hit), hits.record_hit, apply_batch=hit_batches.record_hits),
    "observation": Fact(_adapter(verdicts.DeliveryObservation), verdicts.record_observation, earlier_name="sight"),
    "preferences": Fact(_adapter(stream_preferences.PreferenceChange), stream_preferences.apply_change),
    "stop_tracking": Fact(_adapter(hit_facts.TrackingRequest), hits.stop_tracking, earlier_name="untrack"),
    "resume_tracking": Fact(_adapter(hit_facts.TrackingRequest), hits.resume_tracking, earlier_name="track"),
    "consent": Fact(_adapter(consent.ConsentChange), consent.change_consent),
}


def apply_facts(connection: sa.Connection, facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Applies all, or else each by itself. Returns those that are to wait in the journal."""

    def apply(fact: tuple[str, Any]) -> None:
        FACTS[fact[0]].apply(connection, fact[1])

    def apply_all(facts: Sequence[tuple[str, Any]]) -> None:
        journal.apply_together(connection, [(FACTS[name], value) for name, value in facts])

    # One fact must not stop the others: the journal says what is wrong with it.
    with verdicts.judged_once_per_batch(connection):
        results = savepoints.run_all_or_each(connection, facts, apply, lambda fact, _: fact, apply_all)
    return [fact for fact in results if fact is not None]


def replay_lines(journal: Journal, connection: sa.Connection, lines: list[bytes]) -> RemainingLines:
    """Applies lines of a journal. Returns those that are left."""
    with verdicts.judged_once_per_batch(connection):
        return journal.apply_lines(connection, lines)
