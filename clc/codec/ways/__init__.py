"""Which way a picture is coded: by the model of a bundle, or as the bitstream of another codec."""
