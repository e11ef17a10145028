"""Where pictures come from that do not lie in a folder: archives, tables, stores and the web, behind one interface.

`flows.sources` finds out what a source is. What this room brings in is kept as the very bytes that came, by their
SHA-256, with a line in the journal of the workspace, so that nothing is brought twice.
"""
