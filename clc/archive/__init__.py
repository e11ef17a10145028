"""Archives: a folder of similar pictures as one small, open folder of streams that refer to one another.

manifest.py    what an archive holds, and the checks of the values in its table
table.py       the table as archive.json
parquet.py     the table as archive.parquet, where it is large
pictures.py    the pictures that streams refer to, the same pixels on every machine
layout.py      which file lies where in the folder
sources.py     the pictures of a folder that is packed, and their names in the archive
model.py       the bundle that an archive carries
work.py        the state of packing, until it is finished
coding.py      one picture of an archive: alone, beside others, or fine enough for others to refer to
planning.py    which pictures become key pictures, and how much finer they are coded
pack.py        a folder of pictures into an archive, resumable
unpack.py      pictures out of an archive
verify.py      whether everything in an archive decodes, and what depends on what does not
change.py      adding pictures to an archive, and removing them
earlier.py     the pictures that an archive holds, as references for one that is added
rows.py        a coded picture as a stream with its row in the table
work.py        the work folder of packing and of changes, which one process holds
commands.py    the commands
cli/           what they take
report.py      the page of an archive, and report.html, its template
report_command.py  the command that writes it
"""
