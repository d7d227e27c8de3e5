"""What breaks in the world, done to a real Waypost: processes killed, disks full, upstreams gone mad, clocks moved.

Each test takes a few seconds and is part of the suite; with WAYPOST_FAULTS=long (`make faults`) it goes on for
longer. The figures that they measure stand at the end of pytest's output.

- `test_kills` kill -9 at any moment
- `test_promises` a 250 is on disk, by the server's system calls
- `test_hangs` processes that do not answer
- `test_lost_leases` a process that stood still for longer than its lease
- `test_clock` the clock is set
- `test_disk` a disk that is full or fails
- `test_damage` a damaged SQLite file
- `test_database` the database away
- `test_hanging_database` a database that hangs
- `test_failover` a PostgreSQL standby that is promoted
- `test_nodes` three nodes, restarted and killed
- `test_mad_upstreams` upstreams that do everything wrong
- `test_stalls` upstreams whose open connections hang
- `test_doors` clients that break off at any octet
- `test_answered_hits` hits that were answered
- `test_tracking_outage` links and pixels with the database away
- `test_tampering` tokens that were changed, and rotations of keys
- `load` a sender that goes on, and counts the replies
- `queued_mail` one upstream that is tried each second
- `balancer` a TCP balancer before several nodes
- `database_away` ways to have no database for a while
- `replicated_postgresql` a PostgreSQL server and its standby
- `stopped` processes without processor time
- `figures` lines for the end of the run
- `conftest` upstream, clock and figures as fixtures
"""

import os

IS_LONG = os.environ.get("WAYPOST_FAULTS") == "long"
