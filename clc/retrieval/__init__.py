"""Describing pictures by vectors, and finding the nearest."""
