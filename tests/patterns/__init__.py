"""Every pattern of relay/ and web/ takes time in proportion to its input.

- `test_patterns` each pattern on pumped input, in every way it is used
- `inventory` finds all patterns and how each is used
- `pumping` texts on which a pattern could take more than linear time
- `__main__` prints the figures
"""
