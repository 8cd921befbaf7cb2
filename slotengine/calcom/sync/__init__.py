"""Keeps the holds of an engine and those of a remote Cal.com in step."""
