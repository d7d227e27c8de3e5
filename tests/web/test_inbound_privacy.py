"""Providers' events name people; what is stored of them does so only where `[privacy] mode` allows it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.store.queue import queue_facts
from relay.store.views import personal_data
from tests import postgresql_server
from tests.postgresql_server import IS_POSTGRESQL
from tests.web.providers import (
    ROOT,
    TABLES,
    fetch,
    from_amazon,
    from_mailgun,
    from_postmark,
    from_sendgrid,
    from_sparkpost,
)
from tests.web.scene import Scene

BOUNCED = "Alice.Liddell@rcpt.example"
REPLY = "550 5.7.1 no mail for alice.liddell (a) rcpt.example, see http://x.example/?a=alice.liddell=rcpt.example"


def scene(folder: Path, mode: str) -> Scene:
    return Scene(folder, {"inbound": TABLES["inbound"], "privacy": {"mode": mode}}, fetch=fetch, roots=[ROOT])


def tell_all(running: Scene) -> list[str]:
    """Every provider tells of a bounce, with the address wherever it can stand. Returns the messages that are meant."""
    now = datetime.now(UTC)
    receipts = [f"Ok 0102018f-{name}-000000" for name in ("ses", "postmark", "sendgrid", "mailgun", "sparkpost")]
    messages = [
        running.file(
            BOUNCED,
            message_id=f"{n}@app.example",
            attempt=queue_facts.AttemptRecord("primary", "dot", 250, "2.0.0", receipt, 9),
        )
        for n, receipt in enumerate(receipts)
    ]
    ids = [receipt.removeprefix("Ok ") for receipt in receipts]
    from_amazon(
        running,
        {
            "notificationType": "Bounce",
            "bounce": {
                "bounceType": "Permanent", "bounceSubType": f"General {BOUNCED}", "timestamp": now.isoformat(),
                "feedbackId": f"f-{BOUNCED}",
                "bouncedRecipients": [
                    {"emailAddress": BOUNCED, "action": "failed", "diagnosticCode": f"smtp; {REPLY}"},
                ],
            },
            "mail": {"messageId": ids[0], "source": "app@sender.test", "destination": [BOUNCED]},
        },
    )  # fmt: skip
    postmark = {"RecordType": "Bounce", "ID": 78, "Type": "Blocked", "Email": BOUNCED, "BouncedAt": now.isoformat()}
    from_postmark(running, postmark | {"MessageID": ids[1], "Details": REPLY})
    sendgrid = {
        "email": BOUNCED,
        "event": "dropped",
        "timestamp": int(now.timestamp()),
        "sg_event_id": f"x{BOUNCED}",
    }
    from_sendgrid(running, sendgrid | {"sg_message_id": f"{ids[2]}.filter", "reason": f"Bounced Address {BOUNCED}"})
    mailgun = {"event": "failed", "severity": "permanent", "id": f"m {BOUNCED}", "timestamp": now.timestamp()}
    status = {"code": 550, "message": REPLY}
    named = {"message": {"headers": {"message-id": "3@app.example"}}, "delivery-status": status, "reason": BOUNCED}
    from_mailgun(running, mailgun | {"recipient": BOUNCED} | named)
    sparkpost = {
        "type": "bounce",
        "event_id": f"s {BOUNCED}",
        "timestamp": int(now.timestamp()),
        "rcpt_to": BOUNCED,
    }
    from_sparkpost(running, sparkpost | {"message_id": ids[4], "raw_reason": REPLY, "reason": REPLY})
    return messages


def names_her(running: Scene) -> set[str]:
    """The files, and the PostgreSQL database, that have a part of her name."""
    stored = {path.name: path.read_bytes() for path in running.folder.rglob("*") if path.is_file()}
    if IS_POSTGRESQL:
        stored["database"] = postgresql_server.read_all_rows(running.database_url)
    return {name for name, octets in stored.items() if b"liddell" in octets.lower()}


@pytest.mark.parametrize("mode", ["pseudonymous", "aggregate"])
def test_what_a_provider_tells_leaves_no_address(tmp_path: Path, mode: str) -> None:
    with scene(tmp_path, mode) as running:
        messages = tell_all(running)
        if mode == "pseudonymous":  # where it is told apart, its upstream's own id is still known
            assert [running.delivery(message)["status"] for message in messages].count("bounced") == len(messages)
    assert not names_her(running)


def test_what_a_provider_told_is_erased_with_the_person(tmp_path: Path) -> None:
    with scene(tmp_path, "full") as running:
        messages = tell_all(running)
        assert {running.delivery(message)["status"] for message in messages} == {"bounced"}
        assert names_her(running)
        while running.write(
            lambda connection: personal_data.erase_deliveries(connection, BOUNCED, datetime.now(UTC))
        ).deliveries:
            pass
        running.write(
            lambda connection: personal_data.erase_address_records(connection, BOUNCED, keep_suppressions=True)
        )
        running.store.checkpoint()
    assert not names_her(running)
