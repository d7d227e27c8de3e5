"""`python -m relay`: the same as `waypost`."""

import sys

from relay.cli.main import main

sys.exit(main())
