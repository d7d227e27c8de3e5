"""What comes back by mail: reports, automatic replies and late bounces.

- `test_return_path` tokens of the return path, and what a report changes
- `test_late_bounces` bounces after a 250: event, suppression, and a DSN to the app
- `test_report_reader` the process that reads strangers' reports
- `return_path_scene` a relay with a return path, and the mail that comes back
"""
