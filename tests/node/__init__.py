"""One running node: its start, log, metrics, alerts, keys and chores."""
