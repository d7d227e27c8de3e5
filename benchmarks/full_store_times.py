"""Times every page, API call and command on a store that `benchmarks.full_store` filled.

    python -m benchmarks.full_store_times FOLDER [--url postgresql+psycopg://…] [--rounds 5]

In: that folder.  Out: a table of medians in milliseconds; beside them three clients at once, and what is over the limit
of 200 ms (three at once: 400 ms). Web requests go through sockets to a server in this process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import sqlalchemy as sa
import uvicorn

from relay.config import load
from relay.config.schema import Config
from relay.node import data_directory
from relay.store.console import accounts, api_keys
from relay.store.database import tables
from relay.store.store import Store
from web import app

_LIMIT_MS, _LIMIT_TOGETHER_MS = 200, 400
_TOGETHER = 3
_PASSWORD = "a long password of a benchmark"


class OldMessage(NamedTuple):
    """Names of things that are in the store."""

    message: str
    recipient: str
    subject_word: str


def _open(folder: Path, url: str) -> tuple[Config, Store, Path]:
    path = folder / "config.toml"
    database = f'[database]\nurl = "{url}"\n' if url else ""
    path.write_text(f'[relay]\ndata_dir = "{folder}"\n{database}[console]\nlisten = "127.0.0.1:0"\n')
    config = load.load(path)
    data_directory.prepare_data(config)
    return config, data_directory.open_store(config), path


def _look_up(store: Store) -> OldMessage:
    with store.connect() as connection:
        middle = connection.execute(
            sa.select(tables.message.c.id, tables.message.c.subject)
            .order_by(tables.message.c.id.desc())
            .offset(1000)
            .limit(1)
        ).one()
        mailbox = sa.select(tables.delivery.c.recipient).where(tables.delivery.c.message == middle.id).limit(1)
        return OldMessage(middle.id, connection.scalar(mailbox) or "", middle.subject.split()[-1])


def pages(message: OldMessage) -> dict[str, str]:
    """The console's pages by name."""
    listed = {
        "overview": "/",
        "messages": "/messages",
        "messages, a word that many have": "/messages?q=invoice",
        "messages, a word that one has": f"/messages?q={message.subject_word}",
        "messages, nobody": "/messages?q=nobodyatall",
        "messages, an address": f"/messages?q={message.recipient}",
        "messages, a part of an address": "/messages?q=user1234",
        "messages, a domain": "/messages?q=mail299.example",
        "messages, tag and word": "/messages?q=tag:sale%20invoice",
        "messages, metadata": "/messages?q=meta.order:4000",
        "messages, bounced": "/messages?status=bounced",
        "messages, deferred": "/messages?status=deferred",
        "messages, queued (none)": "/messages?status=queued",
        "messages, bounced, nobody": "/messages?q=nobodyatall&status=bounced",
        "messages, a stream": "/messages?stream=news",
        "one message": f"/messages/{message.message}",
        "mailbox": "/mailbox",
        "mailbox, a word": "/mailbox?q=invoice",
        "mailbox, nobody": "/mailbox?q=nobodyatall",
        "suppressions": "/suppressions",
        "suppressions, an address": "/suppressions?q=gone4711",
        "messages, bounced, in a span": "/messages?from=20d&to=10d&status=bounced",
        "messages, from and to": f"/messages?q=from:news%20to:{message.recipient}",
        "refused": "/refused",
        "one message's CSV": f"/messages.csv?q={message.subject_word}",
        "queue": "/queue",
        "queue, an address": f"/queue?recipient={message.recipient}",
        "queue, deferred": "/queue?state=deferred",
        "upstreams": "/upstreams",
        "bounces": "/bounces",
        "bounces, a stream": "/bounces?span=30d&stream=news",
        "links": "/links",
        "links, a tag": "/links?span=30d&tag=sale",
        "pixels": "/pixels",
        "webhooks": "/webhooks",
        "settings": "/settings",
        "audit log": "/settings/audit",
        "sessions": "/sessions",
    }
    return {f"page: {name}": path for name, path in listed.items()}


def calls(message: OldMessage) -> dict[str, str]:
    """The API's calls by path."""
    listed = (
        "messages", "messages?limit=500", "messages?status=expired", "messages?tag=sale", "messages?q=invoice",
        "messages?q=nobodyatall", f"messages?recipient={message.recipient}", f"messages/{message.message}",
        "events", "events?type=clicked", "events?type=bounced,complained", f"events?recipient={message.recipient}",
        f"events?message={message.message}", "events?stream=news", "events?verdict=machine",
        "stats", "stats?from=400d&by=day", "stats?from=16d&by=hour", "stats?from=30d&by=domain",
        "stats?from=30d&by=tag", "stats?from=30d&by=category", "stats?from=30d&by=stream&format=csv",
        "links", "links?from=1d", "suppressions", "queue", "health", "bounces", "bounces?by=domain,category",
        "bounces?stream=news", "links?tag=sale", "audit", "refusals", f"queue?recipient={message.recipient}",
        "messages?from=20d&to=10d&status=bounced", "events?from=20d&to=10d&type=opened", "suppressions?q=gone4711",
    )  # fmt: skip
    return {f"call: {path}": f"/api/v1/{path}" for path in listed}


COMMANDS = (
    ("messages",), ("messages", "--limit", "1000"), ("messages", "--query", "nobodyatall"),
    ("messages", "--status", "bounced"), ("events", "--limit", "10000"), ("stats", "--last", "30d"),
    ("stats", "--last", "400d", "--by", "domain"), ("queue", "list"), ("suppressions", "list"),
    ("suppressions", "export"), ("keys", "list"), ("events", "reclassify"),
    ("stats", "rebuild"),
)  # fmt: skip


class _ConsoleServer:
    """The console, in this process, on a port of its own."""

    def __init__(self, config: Config, store: Store) -> None:
        ring = data_directory.open_key_ring(config)
        made = uvicorn.Config(app.make_console_app(config, store, ring), host="127.0.0.1", port=0, log_level="error")
        self._server = uvicorn.Server(made)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def time_path(client: httpx.Client, path: str, rounds: int) -> tuple[float, float, int]:
    """The median in ms, that of each of three at once, and the status."""
    status = client.get(path).status_code

    def once() -> float:
        began_s = time.perf_counter()
        client.get(path)
        return (time.perf_counter() - began_s) * 1000

    alone = statistics.median(once() for _ in range(rounds))
    times: list[float] = []
    for _ in range(max(1, rounds // 2)):
        _together(lambda: times.append(once()))
    return alone, statistics.median(times), status


def _together(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(_TOGETHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _time_command(path: Path, words: tuple[str, ...]) -> str:
    began_s = time.perf_counter()
    line = [sys.executable, "-m", "relay", "--config", str(path), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=900, env=os.environ)
    took_s = time.perf_counter() - began_s
    said = done.stdout.strip().splitlines()
    is_summary = words[-1] in ("reclassify", "rebuild")
    note = (json.dumps(json.loads(said[-1])) if is_summary else f"{len(said)} lines") if said else done.stderr[-80:]
    return f"| `waypost {' '.join(words)}` | {took_s:.1f} s | {note} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--url", default="")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", default="", help="what has this in its name")
    chosen = options.parse_args()
    config, store, path = _open(chosen.folder.absolute(), chosen.url)
    found = _look_up(store)
    now = datetime.now(UTC)
    name = f"benchmark-{now:%H%M%S}"
    key = store.writer.submit(lambda connection: api_keys.create_key(connection, name, now, ("*",))).result()
    store.writer.submit(lambda connection: accounts.set_password(connection, name, _PASSWORD, now)).result()
    server = _ConsoleServer(config, store)
    client = httpx.Client(base_url=server.url, timeout=300)
    client.post("/login", data={"name": name, "password": _PASSWORD})
    print("| what | ms | three at once, ms | |\n|---|---|---|---|")
    for what, where in {**pages(found), **calls(found)}.items():
        if chosen.only in what:
            client.headers["authorization"] = f"Bearer {key}" if where.startswith("/api") else ""
            alone, together, status = time_path(client, where, chosen.rounds)
            is_slow = alone > _LIMIT_MS or together > _LIMIT_TOGETHER_MS
            note = ("**over**" if is_slow else "") + ("" if status == 200 else f" {status}")
            print(f"| {what} | {alone:.0f} | {together:.0f} | {note} |", flush=True)
    server.close()
    store.close()
    print("\n| command | time | |\n|---|---|---|")
    for words in COMMANDS:
        if chosen.only in f"command: {' '.join(words)}":
            print(_time_command(path, words), flush=True)


if __name__ == "__main__":
    main()
