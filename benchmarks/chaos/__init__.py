"""Faults under load: real processes, each mail counted, one row of a table for each fault.

`load` sends at a steady rate and notes what was answered · `sink` the upstream, a process that follows a script ·
`fault_run` starts Waypost and counts · `upstreams`, `processes`, `databases`, `crowds` the rows · `__main__` the table

    python -m benchmarks.chaos --list
    python -m benchmarks.chaos --rows stop-mail,upstream-mute
"""
