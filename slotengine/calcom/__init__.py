"""The Cal.com adapter."""
