"""A node: the roles of one machine, assembled and supervised.

`supervisor` binds the sockets, prepares the data, starts a process for each role and keeps it up ·
`mail` the SMTP side · `pages` the HTTP side · `chores` what every role does now and then ·
`ground` the data directory: locks, keys, database
"""
