"""Read queries: a fixed number for each page, however much is on it.

`message_list` the lists of the console · `message_detail` one message with everything · `statistics` counts over time
· `gauges` what waits now
· `json_objects` messages, deliveries and events as JSON · `webhook_event` an event with what the webhook formats need
· `webhook_objects` webhooks and their logs as JSON · `personal_data` all about one address, exported or erased
"""
