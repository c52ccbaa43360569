"""`mvp-data inspect`: finished shards as tables, JSON and a web page.

It must not need anything but the shards.
"""
