"""The transforms between pictures and latents: g_a, g_s, h_a. Float: none of them decides a symbol when decoding."""
