"""How much mail goes through Waypost, against Postfix in the same run.

`load` sends and counts (a source and a sink in C) · `servers` Postfix and Waypost, each with the sink as its upstream ·
`mails` what is sent · `processes` what a server costs: processor time, memory · `time_profile` where a
mail's time goes · `__main__` the table
"""
