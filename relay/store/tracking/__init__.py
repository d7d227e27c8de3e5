"""Hits and their verdicts.

`hits` opens, clicks and unsubscribes, recorded once each · `verdicts` human or machine, with the counters · `pixels`
stand-alone pixels and their log · `hit_counts` hits by verdict
"""
