"""How the pictures of a folder come to be coded beside one another; `clc.archive.pack` makes an archive of that."""
