"""g_a, g_s and h_a: pictures to latents and back, in float32."""
