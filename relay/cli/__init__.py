"""The command line. `main` runs a command, `command_table` knows all, `arguments/` says what one may type, and each
module here does the work of the command of its name.

`serve` `check` `demo` `instrument` `classify` `token` what needs no running server · `messages` `events` `stats`
`queue` what became of mail · `suppressions` `webhooks` `pixel` `person` what is listed and changed · `keys` `user`
`api_key` the installation · `parser` and `argument_types` read words · `command` what all share · `output` what they
print · `samples` the demo's mail · `file_octets` a file as the relay takes it in
"""
