"""Statistics as the JSON objects of the API and the command line (docs/api.md#statistics)."""

from relay.store.views.json_objects import JsonObject
from relay.store.views.statistics import Totals


def totals_object(totals: Totals, *, has_accepted: bool = True) -> JsonObject:
    """Totals as JSON. `accepted` is null where messages are not counted."""
    plain = {name: value for name, value in totals._asdict().items() if isinstance(value, int)}
    opened_by, clicked_by = plain.pop("opened_by"), plain.pop("clicked_by")
    return plain | {
        "accepted": totals.accepted if has_accepted else None,
        "opens": totals.opens._asdict() | {"unique": opened_by},
        "clicks": totals.clicks._asdict() | {"unique": clicked_by},
        "categories": dict(totals.categories),
        "rates": {
            "bounced": _share(totals.bounced, totals.delivered + totals.bounced),
            "complained": _share(totals.complained, totals.delivered),
            "opened": _share(opened_by, totals.delivered),
            "clicked": _share(clicked_by, totals.delivered),
        },
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None
