"""HTTP/1.1 for the public Internet, with limits.

`protocol` heads, bodies and time · `connections` how many, by network and in all · `listener` accepts with a rate
"""
