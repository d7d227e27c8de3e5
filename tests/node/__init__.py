"""One running node: its start, log, metrics, alerts, keys and chores.

- `test_start` start and stop: one line when ready, all faults at once
- `test_preparation` what goes wrong in the process that prepares the database
- `test_privileges` root's ports, the user afterwards, and sockets of systemd
- `test_silent_database` a database that takes connections and never answers
- `test_nothing_silent` what the log, `check` or a refusal to start says
- `test_log_lines` the log as text and JSON
- `test_faults` errors of ours in the log
- `test_metrics` metrics for Prometheus, the dashboard and the rules
- `test_telemetry` OpenTelemetry traces of messages
- `test_alerts` alerts to the operator
- `test_chores` chores that one of several nodes does
- `test_keys` keys that are revoked
"""
