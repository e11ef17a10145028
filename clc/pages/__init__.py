"""Pages for a browser: one self-contained HTML file each, of one look, that runs no script and loads nothing.

page.html    the frame of every page: head, colours of light and dark, styles
page.py      renders a template of another room inside of that frame
"""
