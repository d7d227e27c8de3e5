"""Searches all that a server has on disk for what names a recipient."""

import operator

from tests.postgresql_server import IS_POSTGRESQL
from tests.spellings import found_in
from tests.waiting import until
from tests.waypost_server import Waypost


def found_on_disk(relay: Waypost, *addresses: str) -> list[tuple[str, bytes]]:
    """Traces in any file of the data directory (database, write-ahead log, journal) and in the log."""
    paths = [path for path in (relay.folder / "data").rglob("*") if path.is_file()] + [relay.folder / "log"]
    texts = [(path.name, path.read_bytes()) for path in paths]
    if IS_POSTGRESQL:
        texts.append(("database", relay.stored_octets()))
    else:
        assert any(path.name == "waypost.db" for path in paths)
    return [(name, trace) for name, text in texts for trace in found_in(text, *addresses)]


def gone_from_disk(relay: Waypost, *addresses: str) -> None:
    until(lambda: found_on_disk(relay, *addresses), fits=operator.not_, every_s=0.2)
