"""`mvp-data inspect`: finished shards as tables, JSON and a web page.

It must read only the shards.
"""
