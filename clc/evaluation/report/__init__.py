"""The page of an evaluation: one HTML file with its figures, its curves and a viewer of the pictures.

`report` fills the template, `page_data` writes what its scripts read, `viewer` codes the pictures that are looked at.
Chart.js draws the curves; it lies in `chartjs/` with its licence, as its authors built it, but for the reference to a
source map that is not here.
"""
