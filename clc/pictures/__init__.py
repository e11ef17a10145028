"""Pictures from outside, and what is cut from them."""
