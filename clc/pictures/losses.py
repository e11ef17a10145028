"""What reading a picture may lose, as sentences for the user.

`clc.pictures.images.ReadPicture.losses` names those of one file; callers print them and count them.
"""

TRANSPARENCY = "transparency was composited over the background"
FRAMES = "only the first of several frames, pages or pictures was read"
ONE_FRAME = "only one of several frames, pages or pictures was read"
LAYERS = "layers of a picture editor were left out"
APPENDIX = "what follows the picture in its file, such as the video of a motion photo, was left out"

DEPTH = "samples of more than 8 bits were rounded to 8"
PROFILE = "the colour profile cannot be used and was ignored, so its colours may be off"
GAMMA = "gamma or primaries other than those of sRGB were ignored, so its colours may be off"
HDR = "colours of high dynamic range (PQ or HLG) were taken for sRGB, so they are off"
MOVED = "colours were converted to sRGB by the file's profile, so what is kept without loss are the converted samples"
GAMUT = "colours outside sRGB were clipped"
CMYK = "CMYK colours were converted to sRGB"
LAB = "CIE Lab colours were converted to sRGB"
CHANNELS = "channels beside colours and transparency were left out"

EXIF = "the EXIF data are broken and were left out"
XMP = "the XMP data are no text and were left out"
EXTENDED_XMP = "the extended part of the XMP data was left out"
METADATA_SIZE = "the EXIF or XMP data are too large and were left out"
IPTC = "IPTC data were left out"
COMMENT = "a comment was left out"
TEXT = "texts beside EXIF and XMP were left out"
CREDENTIALS = "content credentials (C2PA) were left out"
OTHER = "other data of the file, damaged or of kinds that a stream does not hold, were left out"
