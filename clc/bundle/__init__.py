"""Weights, tables and dictionary as one immutable folder."""
