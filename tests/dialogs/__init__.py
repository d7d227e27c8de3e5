"""SMTP dialogs as scripts: `*.txt`, played against the real server by `test_dialogs`.

- `test_dialogs` every script
- `test_floods` what strangers send in masses
- `test_octets` what a script cannot say: cuts at random places, large mail, crowds
- `script` the language of the scripts, and its player
- `guarded` the server with the listeners and limits that they need
- `conftest` that server and its upstream as fixtures
"""
