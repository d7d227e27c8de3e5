"""The command line. `main` knows the commands; each command is a module with `add_command`.

`serve` `check` `demo` `instrument` `classify` `token` what needs no running server · `messages` `events` `stats`
`queue` what became of mail · `suppressions` `webhooks` `pixel` `person` what is listed and changed · `keys` `user`
`api_key` the installation · `command` what all share · `samples` the demo's mail · `file_octets` a file as the relay
takes it in
"""
