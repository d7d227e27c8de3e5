"""Mutated inputs against every door that strangers have: `make fuzz`, or `python -m tests.fuzz --minutes 60 mime`.

`mutation` changes seeds, which are the corpora of the other tests · `doors` what an input is given to, and what must
hold · `found/` inputs that once broke something, as DOOR-NAME; test_doors.py tries them at each run, and some new ones.

A failing input is made smaller and written to `found/`. Hypothesis' properties, which the other tests have, make inputs
of known shapes; these begin with real ones.
"""
