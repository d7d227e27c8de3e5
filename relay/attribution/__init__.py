"""Who made a hit: a person, somebody's proxy, or a machine.  DESIGN §10.

Floor 0, and pure: `rules.toml` the rules as data · `rules` reads them · `agents` one request, by what it says of
itself · `history` all hits of one delivery beside each other, in which a later one may relabel an earlier.
"""
