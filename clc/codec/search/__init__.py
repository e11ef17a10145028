"""Which references a picture may be coded beside, and which of the ways to code it is kept."""
