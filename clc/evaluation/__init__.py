"""What a codec is worth: measurements by real files, BD-rates, plots and reports. Needs the extra `pipeline`."""

from storage.extras import need

need("pipeline", "bjontegaard", "matplotlib", "pyarrow", "pytorch_msssim")
