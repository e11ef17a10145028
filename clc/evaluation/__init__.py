"""What a codec is worth: measurements by real files, BD-rates, plots and reports."""
