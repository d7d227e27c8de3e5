"""Read queries. Each page needs a fixed number of them, however much is on it.

- `search_query` what a search asks for
- `message_search` the messages that it finds
- `message_list` the lists of the console
- `recipient_fates` what became of the recipients that a search names
- `message_detail` messages with everything
- `event_list` events by page
- `queue_list` what waits
- `clicked_links` links by clicks
- `bounce_counts` bounces by domain and category
- `statistics` counts over time
- `statistics_objects` these as JSON
- `upstream_replies` what upstreams answered
- `gauges` what waits now
- `json_objects` messages, deliveries, events and so on as JSON
- `webhook_event` an event with what the webhook formats need
- `webhook_objects` webhooks and their logs as JSON
- `personal_data` all about one address, exported or erased
"""
