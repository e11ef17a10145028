"""Aligned references: finding how one picture lies in another, and warping it there exactly."""
