"""Mutated inputs against every entry point that strangers have: `make fuzz`, or `python -m tests.fuzz --minutes 60 mime`.

A failing input is made smaller and written to `found/`, as ENTRY_POINT-NAME. Hypothesis' properties, which the other
tests have, make inputs of known shapes; these begin with real ones, the corpora of the other tests.

- `mutation` changes seeds
- `entry_points` what an input is given to, and what must hold
- `test_entry_points` tries `found/`, the seeds and some new inputs
- `__main__` tries new ones until the time is over
"""
