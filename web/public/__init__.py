"""What recipients and their mail programs request.

- `tracking` pixel and click
- `ready_answers` both without Starlette
- `unsubscribe` the page and one-click
- `write_behind` facts on their way to the store
- `mass_visitors` one client at the mail of many
"""
