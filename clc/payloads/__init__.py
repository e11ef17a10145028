"""Pictures as bitstreams of well-kept codecs, without what their files repeat of our container."""
