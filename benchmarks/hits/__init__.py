"""How many pixels Waypost answers, each written to disk first, against Express with sqlite3 in the same run.

`servers` starts the two · `load` asks with wrk, over all pixels of some hundred mails · `__main__` the table
"""
