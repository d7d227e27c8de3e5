"""The API's suppressions: added, ended by themselves, and removed, one by one and together."""

from datetime import UTC, datetime, timedelta

from tests.web.api_client import ApiClient, Json
from tests.web.scene import Scene


def test_an_address_is_suppressed_and_allowed_again(scene: Scene, api: ApiClient) -> None:
    made = api.ask("POST", "/suppressions", 201, json={"address": "Ann@Stop.Example", "expires_in": "30d"})
    assert (made["address"], made["scope"], made["reason"]) == ("ann@stop.example", "all", "manual")
    assert made["evidence"] == "by the API key tests"
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < ends <= timedelta(days=30)
    assert api.ask("POST", "/suppressions", 200, json={"address": "ann@stop.example", "expires_in": "1d"}) == made
    stream = {"address": "ann@stop.example", "stream": "News", "reason": "unsubscribe", "evidence": "on the phone"}
    assert api.ask("POST", "/suppressions", 201, json=stream)["stream"] == "news"
    assert api.ask("DELETE", "/suppressions", params={"address": "ANN@stop.example", "stream": "news"}) == {
        "removed": 1
    }
    assert api.ask("DELETE", "/suppressions", params={"address": "ann@stop.example"}) == {"removed": 1}
    assert "is not suppressed" in api.refusal("DELETE", "/suppressions", 404, params={"address": "ann@stop.example"})


def test_a_suppression_ends_at_a_time_and_is_found_by_when_it_was_added(api: ApiClient) -> None:
    ends = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    given = {"address": "ends@stop.example", "expires_at": ends.isoformat()}
    made = api.ask("POST", "/suppressions", 201, json=given)
    assert datetime.fromisoformat(made["expires_at"]) == ends and made["expires_at"].endswith("Z")
    sooner = api.ask("POST", "/suppressions", 201, json=given | {"address": "b@stop.example", "expires_in": "2d"})
    assert datetime.fromisoformat(sooner["expires_at"]) < ends
    assert api.items("/suppressions", address="ends@stop.example", **{"from": "1h"}) == [made]
    assert api.items("/suppressions", address="ends@stop.example", to="1h") == []


def test_many_addresses_are_suppressed_and_allowed_again_together(api: ApiClient) -> None:
    items: list[Json] = [{"address": f"{n}@many.example", "reason": "hard_bounce"} for n in range(3000)]
    assert api.ask("POST", "/suppressions/bulk", json={"items": items}) == {"added": 3000, "known": 0}
    assert api.ask("POST", "/suppressions/bulk", json={"items": items[:7]}) == {"added": 0, "known": 7}
    fault = api.refusal("POST", "/suppressions/bulk", 422, json={"items": [*items[:2], {"address": "nobody"}]})
    assert fault == "items.2.address: must be a mail address such as ann@example.com"
    gone = [{"address": item["address"]} for item in items]
    assert api.ask("POST", "/suppressions/bulk/remove", json={"items": gone}) == {"removed": 3000}
    assert api.items("/suppressions", q="many.example") == []
