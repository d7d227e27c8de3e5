"""A fault of ours is seen in the log, with its traceback and what it was about, and holds nothing else up."""

import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

from tests.stage import Waypost, html_mail
from tests.upstream import Upstream

GONE = "e550-5.1.1"


def change(relay: Waypost, statement: str, *values: object) -> None:
    """Writes into the database, as a version with a mistake in it might have."""
    with closing(sqlite3.connect(relay.folder / "data" / "waypost.db", timeout=10)) as database, database:
        assert database.execute(statement, values).rowcount


def wait_for(relay: Waypost, *words: str) -> str:
    """The log, as soon as a line has all the words."""
    end = monotonic() + 15
    while not any(all(word in line for word in words) for line in relay.read_log().splitlines()):
        assert monotonic() < end, relay.read_log()
        sleep(0.05)
    return relay.read_log()


def test_a_notice_that_cannot_be_composed_holds_up_none_behind_it(tmp_path: Path, upstream: Upstream) -> None:
    settings = '[delivery]\nmode = "queued"\nretry = ["1h"]\n'
    with Waypost(tmp_path, upstream.port, settings) as relay:
        for name in ("broken", "sound"):
            relay.send(html_mail(), f"e451-4.3.0+{name}@example.com", sender=f"{name}-notice@sender.test")
            relay.events("deferred", f"e451-4.3.0+{name}@example.com")
        [broken] = relay.rows("messages", "--query", "e451-4.3.0+broken@example.com")
        [sound] = relay.rows("messages", "--query", "e451-4.3.0+sound@example.com")
        change(relay, "UPDATE message SET plan = '{' WHERE id = ?", broken["id"])
        relay.cli("queue", "drop", broken["id"], "--notify")
        wait_for(relay, " error fault where=notice ", f"id={broken['id']}", "error=JSONDecodeError")
        relay.cli("queue", "drop", sound["id"], "--notify")
        assert upstream.to("sound-notice@sender.test")
        log = relay.read_log()
    assert "Traceback" in log and "in _above" in log
    assert " unreadable " not in log
    assert log.count("where=notice ") == 1  # in the hour
