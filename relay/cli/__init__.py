"""The command line. `main` runs a command, `command_table` knows all, `arguments/` has the arguments of each, and each
module here does the work of the command of its name.

- to start: `serve` `check` (and doctor) `template` (config) `demo` with its mail in `samples` `completion`
- what a mail, a reply or a URL means: `instrument` with `file_octets` (a file as the relay reads it) `classify` `token`
- what became of mail: `messages` `events` with `reclassification` `stats` `queue` with `queue_list`
- what is listed and changed: `suppressions` `webhooks` with `webhook_test` `pixel` `person`
- the installation: `keys` `user` `alerts` `api_key` `audit` `refusals` `backup` (and restore)
- what all share: `command` opens what commands need, `output` and `tables` print
"""
