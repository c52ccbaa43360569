"""`mvp-data inspect`: finished shards as tables, JSON and a web page.

It must not read anything but the shards.
"""
