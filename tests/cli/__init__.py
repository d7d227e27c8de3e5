"""The command line: each command as a user types it.

- `test_command_line` helps, misspelt words, and what a command loads
- `test_command_lists` lists as tables and as JSON lines, and their filters
- `test_command_page` every command of docs/command-line.md
- `test_doctor` `waypost doctor`: DNS, certificates, upstreams, remedies
"""
