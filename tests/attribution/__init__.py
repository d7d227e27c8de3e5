"""Attribution: whether a hit was made by a person, on recorded traces.

- `test_attribution` the verdicts on labelled sequences of hits, in any order
- `traces` the reader of `traces.txt` and `traces_blind.txt`, and the score
"""
