"""The command line. `main` knows the commands; each command is a module with `add` and `run`.

`serve` `check` `demo` the node · `instrument` `classify` `token` what the mail side does, shown by hand ·
`suppressions` `queue` `messages` `events` `stats` the store, read and changed ·
`pixel` stand-alone pixels · `person` all about one address · `keys` `user` `api_key` the installation
"""
