"""The command line: each command as a user types it."""
