"""A client of a remote Cal.com: one request for each operation, retried only where that is safe."""
