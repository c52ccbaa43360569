"""`mvp-data inspect`: finished shards as tables, JSON and a web page.

It reads only the shards.
"""
