"""HTTP/1.1 for the public, with bounds.

`protocol` heads, bodies and time · `connections` how many, by network and in all · `listener` accepts with a rate
"""
