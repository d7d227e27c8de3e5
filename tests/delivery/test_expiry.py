"""What is past its time ends at that time, wherever it waits: behind upstreams that are out, or parked."""

from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import sqlalchemy as sa

from relay.store.database import tables
from relay.store.queue import leases
from relay.store.store import Store
from tests.message_factory import NOW, insert_messages, new_message
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

LATE = NOW + timedelta(days=6)


def over(opened: Store) -> list[str]:
    """Whose time is over, leased."""
    clock = leases.LeaseClock(LATE, LATE)
    with opened.connect() as connection:
        is_expired = leases.has_expired(connection, clock)
    leased = opened.writer.submit(
        lambda connection: leases.lease_expired(connection, clock, LATE + timedelta(minutes=1), "a", 10)
    ).result(60)
    found = sorted(row.recipient for rows in leased.values() for row in rows)
    assert is_expired == bool(found)
    return found


def test_what_is_parked_ends_too_unless_that_ends_its_process_again(opened: Store) -> None:
    young = new_message("young", at=LATE - timedelta(days=1))
    crashes = {"fresh": 0, "suspect": leases.MAX_CRASHES - 1, "parked": leases.MAX_CRASHES}
    old = {name: new_message(name) for name in [*crashes, "hopeless", "later"]}
    insert_messages(opened, young, *old.values())
    table = tables.delivery

    def prepare(connection: sa.Connection) -> None:
        for name, count in (crashes | {"hopeless": leases.MAX_CRASHES + 1}).items():
            connection.execute(sa.update(table).where(table.c.recipient == name).values(crashes=count))
        connection.execute(
            sa.update(table).where(table.c.recipient == "later").values(next_attempt_at=LATE + NOW.resolution)
        )

    opened.writer.submit(prepare).result(60)
    assert over(opened) == ["fresh", "parked", "suspect"]
    assert over(opened) == []  # each has a holder


def test_while_the_upstream_is_out_many_expire_at_once_and_the_sender_hears_of_them_later(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    upstream.stop()
    settings = f'[[upstream]]\naddress = "127.0.0.1:{upstream.port}"\ntls = "off"\noutages = 1\n'
    settings += '[delivery]\nmode = "queued"\nretry = ["1s"]\n'
    recipients = [f"{n}@example.com" for n in range(60)]
    try:
        with Waypost(tmp_path, tables=settings) as relay:
            mail = html_mail(header="X-Waypost-Expires-In: 2s\r\n")
            assert relay.send(mail, *recipients, sender="app@sender.test").startswith("250")
            end = monotonic() + 40  # one a second, as the rest is looked at, makes 60
            while waiting := [row for row in relay.rows("queue", "list") if row["recipient"] in recipients]:
                assert monotonic() < end, len(waiting)
                sleep(0.1)
            upstream.start()
            while (told := sum(one.octets.count(b"Action: failed") for one in upstream.arrivals)) != len(recipients):
                assert monotonic() < end, told
                sleep(0.1)
    finally:
        upstream.close()
