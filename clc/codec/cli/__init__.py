"""The command line `python -m clc.codec`, a file for each kind of command."""
