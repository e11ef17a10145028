"""Parts of the flow `evaluate-codec`: which pictures, the rows of each one, and the report."""
