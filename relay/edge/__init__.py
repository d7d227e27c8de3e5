"""SMTP in.

- `server` listeners
- `contexts` what connections share
- `connection` one client: lines, replies, TLS, timer
- `reader` what the client has sent and nobody has read yet
- `commands` the commands and what they mean
- `data` the octets to the dot
- `header` limits of the header section
- `trace_fields` Received, Date, Message-ID
- `policy` who may do what
- `connection_limits` how many connections at a time
- `error_budget` how many mistakes a client may make
- `refusal_log` refusals, to be stored
- `auth` AUTH
- `tls` certificates of listeners
- `proxy_protocol` the balancer's header
- `dsn_parameters` RFC 3461
"""
