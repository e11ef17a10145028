"""Pictures of a collection: examined behind a wall, kept as their own files, and read by the rectangle.

`examination` says what a picture is, or why it is none; `wall` does that in a process with limits, and `shards` for
many pictures on any machine. `patches` reads a rectangle of a stored picture, `scenes` says which belong together.
"""
