"""Messages are found by their words, wherever in the store they are; and nothing is found of what was deleted."""

from functools import partial

import pytest
import sqlalchemy as sa

from relay.store import message_words, retention
from relay.store.database import tables
from relay.store.store import Store
from relay.store.views import message_search, personal_data
from relay.store.views.search_query import MessageSearch
from tests.message_factory import NOW, count_rows, insert_messages, new_message


@pytest.fixture
def mail(opened: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Messages by what they are about, each older than what one scan looks at."""
    monkeypatch.setattr(message_search, "MAX_SCANNED", 2)
    found = {}
    for what, subject, to in (
        ("invoice", "Your Invoice 1047", "ann@shop.example"),
        ("cafe", "Café au lait", "bob@bücher.example"),
        ("order", "An order", "order.desk@shop.example"),
        ("rest", "Something else", "zoe@other.example"),
    ):
        one = new_message(to)
        one.message.subject, one.message.author = subject, "News@Sender.example"
        insert_messages(opened, one)
        found[what] = one.message.id
    return found


def store_words(opened: Store) -> None:
    while opened.writer.submit(message_words.store_due_words).result(60):
        pass


def search(opened: Store, *words: str, limit: int = 10) -> set[str]:
    """The ids on all pages."""
    ids: list[str] = []
    before = ""
    with opened.connect() as connection:
        while True:
            page = message_search.find_messages(connection, MessageSearch(words=words), limit, before)
            ids += page.ids
            before = page.next
            if not before:
                assert len(ids) == len(set(ids))
                return set(ids)


CASES: list[tuple[list[str], set[str]]] = [
    (["invoice"], {"invoice"}),
    (["INVO"], {"invoice"}),
    (["1047"], {"invoice"}),
    (["café"], {"cafe"}),
    (["order"], {"order"}),
    (["order.desk"], {"order"}),
    (["shop.example"], {"invoice", "order"}),
    (["shop.example", "order"], {"order"}),
    (["news@sender"], {"invoice", "cafe", "order", "rest"}),
    (["invoice", "order"], set()),
    (["nvoic"], {"invoice"}),  # within a word: looked for in each message
    (["100%"], set()),
    (["%"], set()),
]


def test_a_message_is_found_by_the_beginning_of_a_word(opened: Store, mail: dict[str, str]) -> None:
    for _ in range(2):
        for words, expected in CASES:
            for limit in (1, 10):
                assert search(opened, *words, limit=limit) == {mail[what] for what in expected}, words
        store_words(opened)  # and the same is found when the words have been stored


def test_what_is_deleted_or_erased_leaves_no_words(opened: Store, mail: dict[str, str]) -> None:
    store_words(opened)
    opened.writer.submit(partial(personal_data.erase_deliveries, mailbox="ann@shop.example", now=NOW)).result(60)
    store_words(opened)
    with opened.connect() as connection:
        table = tables.message_word
        left = set(connection.scalars(sa.select(table.c.word).where(table.c.message == mail["invoice"])))
    assert left == {"news", "sender", "example", "@sender.example"}
    opened.writer.submit(lambda connection: retention.drop_refused_message(connection, mail["invoice"], "")).result(60)
    for _ in range(5):
        opened.writer.submit(partial(retention.drop_messages, before=NOW.replace(year=NOW.year + 1))).result(60)
    waiting = count_rows(opened, tables.message)
    with opened.connect() as connection:
        rest = connection.scalar(sa.select(sa.func.count(sa.distinct(tables.message_word.c.message))))
    assert rest == waiting and count_rows(opened, tables.message_word_due) == 0
