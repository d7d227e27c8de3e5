"""HTTP/1.1 for the public Internet, with limits.

- `protocol` heads and bodies, within the limits
- `request_limits` the limits of size and time
- `connections` how many connections, by network and in all
- `listener` accepts with a rate
"""
