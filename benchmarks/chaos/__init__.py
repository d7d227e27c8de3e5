"""Faults under load: real processes, each mail counted, one row of a table for each fault.

`load` sends at a steady rate and notes what was answered; `sink` is the upstream, a process that follows a script;
`scene` starts Waypost and counts; `upstreams`, `processes`, `databases` and `crowds` hold the rows.

    python -m benchmarks.chaos --list
    python -m benchmarks.chaos --rows stop-mail,upstream-mute
"""
