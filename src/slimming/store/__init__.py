"""Stored results: why each product stands, whether it is still what it was, and where a number comes from."""
