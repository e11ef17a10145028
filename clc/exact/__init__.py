"""Integer arithmetic carried in floating point: the same bits on every machine.

Everything that decides a symbol is computed here: functions on grids (`grid`), layers (`layers`), softmax and powers of
two (`functions`), the phases of a checkerboard (`checkerboard`). A *grid* is the set of the integer multiples of a
power of two. `clc.model.prior` is built from these parts; the reasons are in `docs/adr/001-exact-path-in-float64.md`.

Ledger of grids (q10: multiples of 2**-10; widths include the sign):

    activations, tokens         q10, |a| <= 32          16 bits
    means of the latents        q6,  |mu| <= 4096       19 bits
    weights                     int16 times 2**-shift, one shift (0..20) for each output channel
    biases                      int32, q20
    attention logits            q6;  attention weights  q15
    powers of two               q16 mantissa, exponent -32..32
    partial sums                at most 2**53 units, proven for each output channel by `layers.sum_bound_bits`
"""
