"""A client of a remote Cal.com: sends requests, and retries them only where that is safe.

`client` has the class that callers use, and `errors` what it raises.  `wire` writes and reads JSON.
"""
