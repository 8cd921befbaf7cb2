"""A client of a remote Cal.com: sends requests, and retries them only where that is safe."""
