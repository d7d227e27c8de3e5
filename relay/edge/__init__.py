"""SMTP in.

`server` listeners and their drain · `dialogue` one client's lines and replies · `session` the commands ·
`data` the octets between DATA and the dot · `policy` who may do what · `auth` AUTH PLAIN and LOGIN ·
`trace` the fields that a relay adds
"""
