"""Every figure that a page quotes: the command that measures it, what was measured, and the page's table of it."""
