"""What breaks in the world, done to a real Waypost: processes killed, disks full, upstreams gone mad, clocks moved.

Each test takes a few seconds and is part of the suite; with WAYPOST_FAULTS=long (`make faults`) it goes on for
longer. The figures that they measure stand at the end of pytest's output.
"""

import os

IS_LONG = os.environ.get("WAYPOST_FAULTS") == "long"
