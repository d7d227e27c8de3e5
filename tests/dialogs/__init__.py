"""SMTP dialogs as scripts: `*.txt`, played against the real server by `test_dialogs`."""
