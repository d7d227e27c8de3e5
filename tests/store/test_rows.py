"""Messages and deliveries as objects are what their tables hold."""

from typing import Any

import pytest
import sqlalchemy as sa

from relay.store.database import tables
from relay.store.database.rows import Delivery, Message, Row


def _defaults(table: sa.Table) -> dict[str, Any]:  # Any: of any column
    def value(column: sa.Column[Any]) -> Any:
        default: Any = column.default
        return None if default is None else default.arg(None) if default.is_callable else default.arg

    return {column.name: value(column) for column in table.c}


@pytest.mark.parametrize(("row", "table"), [(Message, tables.message), (Delivery, tables.delivery)])
def test_a_field_is_a_column_with_its_default_and_may_be_none_where_the_column_may(
    row: type[Row], table: sa.Table
) -> None:
    assert row().__dict__ == _defaults(table)
    may_be_none = {
        name for name, field in row.model_fields.items() if field.annotation and "None" in str(field.annotation)
    }
    assert may_be_none == {column.name for column in table.c if column.nullable}
