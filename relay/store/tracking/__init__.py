"""Hits and their verdicts.

- `hit_facts` a hit, and the request not to be tracked, as values
- `hits` opens, clicks and unsubscribes, recorded once each
- `hit_batches` many at once
- `verdicts` human or machine, with the counters
- `reclassification` past hits judged by the rules of today
- `pixels` stand-alone pixels and their log
- `hit_counts` hits by verdict
"""
