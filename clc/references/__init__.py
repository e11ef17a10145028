"""How one picture lies in another, and what it looks like there."""
