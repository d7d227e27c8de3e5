"""SMTP in.

`server` listeners · `connection` one client: lines, replies, TLS, time · `reader` what it has sent and nobody has
read · `commands` the commands and what they mean · `data` the octets to the dot · `header` bounds of the header
section · `trace_fields` Received, Date, Message-ID · `policy` who may do what · `connection_limits` how many at a
time · `auth` AUTH · `tls` certificates · `proxy_protocol` the balancer's header · `dsn_parameters` RFC 3461
"""
