"""Mutated inputs against every entry point that strangers have: `make fuzz`, or `python -m tests.fuzz --minutes 60 mime`.

`mutation` changes seeds, which are the corpora of the other tests · `entry_points` what an input is given to, and what
must hold · `found/` inputs that once broke something, as ENTRY_POINT-NAME; `test_entry_points` tries them at each run,
and some new ones.

A failing input is made smaller and written to `found/`. Hypothesis' properties, which the other tests have, make inputs
of known shapes; these begin with real ones.
"""
